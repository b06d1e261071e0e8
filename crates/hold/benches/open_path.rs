//! What the hold costs a request while nobody holds: enter and drop, on lanes of their own.

use std::num::{NonZeroU32, NonZeroUsize};

use divan::Bencher;
use hold::{Hold, Lane, Limits, Pace};

fn main() {
    divan::main();
}

fn lanes(count: NonZeroUsize) -> Vec<Lane> {
    let pace = Pace { concurrency: NonZeroU32::MIN, concurrency_max: NonZeroU32::MIN };
    Hold::new(Limits { held_max: 1, pace }, count).1
}

#[divan::bench(sample_size = 4096)]
fn one_thread(bencher: Bencher<'_, '_>) {
    let lanes = lanes(NonZeroUsize::MIN);
    let lane = lanes.first().expect("one lane was asked for");
    bencher.bench_local(|| drop(divan::black_box(lane).enter()));
}

/// Every thread finds its own lane by its own index, so that nothing but the hold is measured.
#[divan::bench(threads = [1, 2], sample_size = 4096)]
fn own_lanes(bencher: Bencher<'_, '_>) {
    use std::sync::atomic::{AtomicUsize, Ordering};

    thread_local! {
        static OWN: std::cell::OnceCell<Lane> = const { std::cell::OnceCell::new() };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let lanes = lanes(NonZeroUsize::MIN.saturating_add(63));
    bencher.bench(|| {
        OWN.with(|own| {
            let lane = own.get_or_init(|| {
                let index = NEXT.fetch_add(1, Ordering::Relaxed) % lanes.len();
                lanes.get(index).expect("the index is within the lanes").clone()
            });
            drop(divan::black_box(lane).enter());
        });
    });
}
