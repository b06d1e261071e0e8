//! The gate under clients that give up while their app is held.

use lab::soak::{SoakArgs, measure};

/// As `make soak`, for a few seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_h22_clients_that_give_up_while_held_leave_nothing_behind() {
    let args = SoakArgs { seconds: 9, rate: 300, json: true };
    let result = measure(&args).await.expect("a soak");
    let shown = format!("{result:?}");
    assert_eq!((result.answered_while_held, result.gone_seen), (0, 0), "{shown}");
    assert_eq!((result.patient_answered, result.patient_seen), (result.patient, 200), "{shown}");
    assert_eq!(result.other.failures, 0, "{shown}");
    assert!(result.clients > 1_000 && result.held_max > 100, "{shown}");
    // Three times as many came and left meanwhile as there are at once.
    assert!(result.memory.growth_pct < 25.0, "{shown}");
}
