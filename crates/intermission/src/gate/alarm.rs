//! A timer that is set again and again: to move one costs less than to make another.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// Rings once after it was set last. It costs nothing before.
///
/// Set to later than before, as nearly always, it is not even moved: when the timer comes to its end, it goes on to the new one.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Timer>>>);

pin_project! {
    #[derive(Debug)]
    struct Timer {
        deadline: Instant,
        #[pin]
        sleep: Sleep,
    }
}

impl Alarm {
    pub(crate) fn set(&mut self, after: Duration) {
        self.set_to(Instant::now() + after);
    }

    pub(crate) fn set_to(&mut self, deadline: Instant) {
        match &mut self.0 {
            Some(timer) => timer.as_mut().move_to(deadline),
            None => self.0 = Some(Box::pin(Timer { deadline, sleep: sleep_until(deadline) })),
        }
    }

    /// Pending for ever if it was never set.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

impl Timer {
    fn move_to(self: Pin<&mut Self>, deadline: Instant) {
        let mut this = self.project();
        *this.deadline = deadline;
        if this.sleep.is_elapsed() || deadline < this.sleep.deadline() {
            this.sleep.as_mut().reset(deadline);
        }
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            ready!(this.sleep.as_mut().poll(cx));
            if this.sleep.deadline() >= *this.deadline {
                return Poll::Ready(());
            }
            this.sleep.as_mut().reset(*this.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::time::{Instant, advance};

    use super::Alarm;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long it takes to ring, at most a minute.
    async fn rings_after(alarm: &mut Alarm) -> Option<Duration> {
        let began = Instant::now();
        tokio::time::timeout(60 * SECOND, poll_fn(|cx| alarm.poll(cx))).await.ok()?;
        Some(began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_when_it_was_set_to_last() {
        let mut alarm = Alarm::default();
        assert_eq!(rings_after(&mut alarm).await, None);
        alarm.set(5 * SECOND);
        assert_eq!(rings_after(&mut alarm).await, Some(5 * SECOND));
        for later in [2, 9, 3, 3, 30, 1] {
            alarm.set(5 * SECOND);
            assert!(poll_fn(|cx| alarm.poll(cx)).now_or_never().is_none());
            advance(SECOND).await;
            alarm.set(later * SECOND);
            assert_eq!(rings_after(&mut alarm).await, Some(later * SECOND), "{later}");
        }
        // Nobody looked when its first end came.
        alarm.set(SECOND);
        advance(2 * SECOND).await;
        alarm.set(4 * SECOND);
        assert_eq!(rings_after(&mut alarm).await, Some(4 * SECOND));
        alarm.set(SECOND);
        alarm.set(4 * SECOND);
        advance(2 * SECOND).await;
        assert_eq!(rings_after(&mut alarm).await, Some(2 * SECOND));
    }
}
