//! What the hold costs a request while nobody holds: enter and drop, on lanes of their own, and a
//! call through the layer around a service that does nothing. First the figures in short: one thread, two, their ratio.
#![expect(clippy::print_stdout, reason = "the figures are what is asked for")]

#[path = "open_path/figure.rs"]
mod figure;

use std::num::{NonZeroU32, NonZeroUsize};

use divan::Bencher;
use hold::{Hold, Lane, Limits, Pace};

const ROUNDS: usize = 10_000;

fn main() {
    // Not where the benchmarks are only listed or tried once.
    if std::env::args().any(|argument| argument == "--bench") {
        let figures = figure::Figures::measure(ROUNDS);
        let shown = |figure: Option<f64>| match figure {
            Some(figure) => format!("{figure:.2}"),
            None => "unknown".to_owned(),
        };
        println!(
            "open path: {:.2} ns on one thread, {} beside a second one (ratio {}); {} if they shared a lane",
            figures.one_thread,
            shown(figures.two_threads),
            shown(figures.ratio()),
            shown(figures.one_lane),
        );
    }
    divan::main();
}

fn lanes(count: NonZeroUsize) -> Vec<Lane> {
    let pace = Pace { concurrency: NonZeroU32::MIN, concurrency_max: NonZeroU32::MIN };
    Hold::new(Limits::new(1, pace), count).1
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

#[cfg(feature = "tower")]
mod layer {
    use std::convert::Infallible;
    use std::future::{Future, Ready, ready};
    use std::num::NonZeroU32;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use divan::Bencher;
    use hold::tower::HoldLayer;
    use hold::{Limits, Pace};
    use tower_layer::Layer;
    use tower_service::Service;

    #[derive(Clone)]
    struct Nothing;

    impl Service<u32> for Nothing {
        type Response = u32;
        type Error = Infallible;
        type Future = Ready<Result<u32, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: u32) -> Self::Future {
            ready(Ok(request))
        }
    }

    /// A clone, a call and its answer, as a router does it for every request.
    fn call<S: Service<u32> + Clone>(service: &S) {
        let mut context = Context::from_waker(Waker::noop());
        let mut service = divan::black_box(service).clone();
        drop(divan::black_box(service.poll_ready(&mut context)));
        let mut answer = pin!(service.call(1));
        drop(divan::black_box(answer.as_mut().poll(&mut context)));
    }

    #[divan::bench(threads = [1, 2], sample_size = 4096)]
    fn none(bencher: Bencher<'_, '_>) {
        bencher.bench(|| call(&Nothing));
    }

    #[divan::bench(threads = [1, 2], sample_size = 4096)]
    fn around(bencher: Bencher<'_, '_>) {
        let pace = Pace { concurrency: NonZeroU32::MIN, concurrency_max: NonZeroU32::MIN };
        let limits = Limits::new(1, pace);
        let (_hold, layer) = HoldLayer::new(limits, Duration::from_secs(1), |request, _| request);
        let service = layer.layer(Nothing);
        bencher.bench(|| call(&service));
    }
}
