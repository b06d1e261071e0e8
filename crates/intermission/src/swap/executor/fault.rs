//! Where a test ends the process as abruptly as a power cut.

use crate::swap::{record::Action, step::Step};

#[cfg(feature = "fault-injection")]
#[expect(clippy::panic, reason = "that is what the test asks for")]
pub(super) fn point(moment: &str, action: Action, step: Step) {
    let action = match action {
        Action::Perform => "perform",
        Action::Verify => "verify",
        Action::Undo => "undo",
    };
    let here = format!("{moment}:{action}:{step}");
    if std::env::var("INTERMISSION_FAULT").is_ok_and(|wanted| wanted == format!("kill:{here}")) {
        let ended =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        tracing::error!(?ended, "still alive");
    }
    if std::env::var("INTERMISSION_FAULT").is_ok_and(|wanted| wanted == format!("panic:{here}")) {
        std::panic::panic_any(format!("fault injected at {here}"));
    }
}

#[cfg(not(feature = "fault-injection"))]
pub(super) const fn point(_: &str, _: Action, _: Step) {}
