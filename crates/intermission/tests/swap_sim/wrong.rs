//! What a wrong answer says.

use intermission::swap::{
    client_address::Identity,
    gates::Users,
    observation::{Access, Blocker},
    position::{Barrier, Coordinates},
    role::Event,
    server::Look,
};

use crate::db::event;

/// An answer of a server, a gate or a hook.
pub(crate) trait Answer: Sized {
    /// What a look says that is wrong.
    fn contrary(self) -> Self;

    /// What a change says that was not done.
    fn done() -> Self;
}

/// Answers that say nothing but that something was done.
macro_rules! says_nothing {
    ($($answer:ty),*) => {$(
        impl Answer for $answer {
            fn contrary(self) -> Self {
                self
            }

            fn done() -> Self {
                Self::default()
            }
        }
    )*};
}

says_nothing!((), String, Users);

impl Answer for usize {
    fn contrary(self) -> Self {
        Self::from(self == 0)
    }

    /// So many as there are events.
    fn done() -> Self {
        1
    }
}

impl Answer for bool {
    fn contrary(self) -> Self {
        !self
    }

    fn done() -> Self {
        true
    }
}

impl Answer for Access {
    fn contrary(self) -> Self {
        if self.is_writable() {
            Self { read_only: true, super_read_only: true }
        } else {
            Self::WRITABLE
        }
    }

    fn done() -> Self {
        Self::WRITABLE
    }
}

impl Answer for Coordinates {
    fn contrary(self) -> Self {
        Self { offset: self.offset + 1, ..self }
    }

    fn done() -> Self {
        Self { file: String::new(), offset: 0 }
    }
}

impl Answer for Look {
    fn contrary(self) -> Self {
        Self { access: self.access.contrary(), is_shut: !self.is_shut, ..self }
    }

    fn done() -> Self {
        let barrier = Barrier::At(Coordinates::done());
        Self { access: Access::done(), is_shut: false, barrier }
    }
}

impl Answer for Option<Blocker> {
    fn contrary(self) -> Self {
        let blocker = crate::server::blocker("somebody who is not there");
        self.is_none().then_some(blocker)
    }

    fn done() -> Self {
        None
    }
}

impl Answer for Vec<Event> {
    fn contrary(self) -> Self {
        if self.is_empty() { vec![event()] } else { Self::new() }
    }

    fn done() -> Self {
        Self::new()
    }
}

impl Answer for Identity {
    fn contrary(self) -> Self {
        Self { server_id: self.server_id + 1, ..self }
    }

    fn done() -> Self {
        Self { uuid: None, server_id: 0 }
    }
}
