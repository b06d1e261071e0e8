//! What leads clients to a server: a floating IP, a proxy, a command, or several of them in turn.

mod command;
mod floating_ip;
mod haproxy;
mod session;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use self::{
    command::{CommandEndpoint, Start},
    floating_ip::{FloatingIp, Host, IpPrefix, PrefixError},
    haproxy::HaProxy,
};
use super::{observation::Address, observation::EndpointView};

/// What leads clients to a server. Every call may be repeated and is over within [`Endpoint::bound`].
#[async_trait]
pub trait Endpoint: Send + Sync + fmt::Debug {
    /// What speaks against using it now, and where the floating IP is, if there is one.
    async fn observe(&self) -> EndpointView;

    /// How long any of the following may take.
    fn bound(&self) -> Duration;

    /// Does what can be done before users wait, and moves nobody. Other servers than these two are not needed.
    async fn prepare(&self, old: &Address, new: &Address) -> Result<(), EndpointError>;

    /// Opens what [`Endpoint::give_back`] needs, and moves nobody.
    async fn stand_by(&self, old: &Address, new: &Address) -> Result<(), EndpointError> {
        let _: (&Address, &Address) = (old, new);
        Ok(())
    }

    /// How long it may take to take something away from the old primary before its fence, and as long to give it back;
    /// none where there is nothing to take away.
    fn withdrawal(&self) -> Option<Duration> {
        None
    }

    /// No new connection finds `old` by the clients' address any more.
    async fn withdraw(&self, old: &Address) -> Result<String, EndpointError> {
        let _: &Address = old;
        Ok(String::new())
    }

    /// Takes [`Endpoint::withdraw`] back: clients find `old`, and not `new`.
    async fn give_back(&self, old: &Address, new: &Address) -> Result<String, EndpointError> {
        match self.withdrawal() {
            Some(_) => self.point(old, new).await,
            None => Ok(String::new()),
        }
    }

    /// Leads clients to `new`; returns what there is to say of it.
    async fn point(&self, new: &Address, old: &Address) -> Result<String, EndpointError>;

    /// As [`Endpoint::point`], where [`Endpoint::withdraw`] has succeeded a moment ago: users wait.
    async fn point_withdrawn(&self, new: &Address, old: &Address) -> Result<String, EndpointError> {
        self.point(new, old).await
    }

    /// Looks at the connections that [`Endpoint::cut`] is to end, right before users wait.
    async fn remember(&self, old: &Address) -> Result<(), EndpointError> {
        let _: &Address = old;
        Ok(())
    }

    /// Ends the connections that were remembered, when `old` has the clients' address no more: how many. What is not ended here is ended
    /// as a session of the server.
    async fn cut(&self, old: &Address) -> usize {
        let _: &Address = old;
        0
    }

    /// How an operator leads clients to `new` by hand.
    fn command(&self, new: &Address, old: &Address) -> String;

    /// How an operator takes a withdrawal back by hand.
    fn command_to_give_back(&self, old: &Address, new: &Address) -> Option<String> {
        self.withdrawal().map(|_| self.command(old, new))
    }
}

/// An endpoint that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("cannot start the endpoint hook {program}")]
    Start { program: String, source: std::io::Error },
    #[error("the endpoint hook {program} was killed after {bound:?}: {output}")]
    Timeout { program: String, bound: Duration, output: String },
    #[error("the endpoint hook {program} ended with {status}: {output}")]
    Failed { program: String, status: String, output: String },
    #[error("{server}: cannot {doing}: {reason}")]
    Host { server: String, doing: String, reason: String },
}

/// Several endpoints, in the order in which clients are led through them.
#[derive(Debug)]
pub struct Endpoints(Vec<Arc<dyn Endpoint>>);

impl Endpoints {
    #[must_use]
    pub fn new(all: Vec<Arc<dyn Endpoint>>) -> Self {
        Self(all)
    }
}

#[async_trait]
impl Endpoint for Endpoints {
    async fn observe(&self) -> EndpointView {
        let mut all = EndpointView::default();
        for endpoint in &self.0 {
            let seen = endpoint.observe().await;
            all.refusals.extend(seen.refusals);
            all.floating_ip = all.floating_ip.or(seen.floating_ip);
        }
        all
    }

    fn bound(&self) -> Duration {
        self.0.iter().map(|endpoint| endpoint.bound()).sum()
    }

    async fn prepare(&self, old: &Address, new: &Address) -> Result<(), EndpointError> {
        for endpoint in &self.0 {
            endpoint.prepare(old, new).await?;
        }
        Ok(())
    }

    async fn stand_by(&self, old: &Address, new: &Address) -> Result<(), EndpointError> {
        for endpoint in &self.0 {
            endpoint.stand_by(old, new).await?;
        }
        Ok(())
    }

    fn withdrawal(&self) -> Option<Duration> {
        self.0.iter().filter_map(|endpoint| endpoint.withdrawal()).reduce(|a, b| a + b)
    }

    async fn withdraw(&self, old: &Address) -> Result<String, EndpointError> {
        let mut said = Vec::new();
        for endpoint in &self.0 {
            said.push(endpoint.withdraw(old).await?);
        }
        Ok(joined(said))
    }

    async fn give_back(&self, old: &Address, new: &Address) -> Result<String, EndpointError> {
        let mut said = Vec::new();
        for endpoint in self.0.iter().rev() {
            said.push(endpoint.give_back(old, new).await?);
        }
        Ok(joined(said))
    }

    async fn point(&self, new: &Address, old: &Address) -> Result<String, EndpointError> {
        let mut said = Vec::new();
        for endpoint in &self.0 {
            said.push(endpoint.point(new, old).await?);
        }
        Ok(joined(said))
    }

    async fn point_withdrawn(&self, new: &Address, old: &Address) -> Result<String, EndpointError> {
        let mut said = Vec::new();
        for endpoint in &self.0 {
            said.push(endpoint.point_withdrawn(new, old).await?);
        }
        Ok(joined(said))
    }

    async fn remember(&self, old: &Address) -> Result<(), EndpointError> {
        for endpoint in &self.0 {
            endpoint.remember(old).await?;
        }
        Ok(())
    }

    async fn cut(&self, old: &Address) -> usize {
        let mut ended = 0;
        for endpoint in &self.0 {
            ended += endpoint.cut(old).await;
        }
        ended
    }

    fn command(&self, new: &Address, old: &Address) -> String {
        let all: Vec<String> = self.0.iter().map(|e| e.command(new, old)).collect();
        all.join(" && ")
    }

    fn command_to_give_back(&self, old: &Address, new: &Address) -> Option<String> {
        let all: Vec<String> =
            self.0.iter().rev().filter_map(|e| e.command_to_give_back(old, new)).collect();
        (!all.is_empty()).then(|| all.join(" && "))
    }
}

fn joined(mut said: Vec<String>) -> String {
    said.retain(|words| !words.is_empty());
    said.join("; ")
}

/// A word as a shell takes it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
