//! A dead source: whether anything is there, and a receiver that is to receive no more.

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::{
    dialect::{Dialect, literal},
    server::{MySqlServer, REPLICATION_BOUND},
};
use crate::swap::{
    observation::{Flavor, ReplicaView, ThreadState},
    server::{Effect, Life, ServerError},
    sibling::Threads,
};

/// A channel's thread, in the words of START and STOP.
const RECEIVER: &str = "IO_THREAD";
const APPLIER: &str = "SQL_THREAD";

impl Dialect {
    /// The last transaction, in the form the wait function takes.
    pub(super) const fn ask(self) -> &'static str {
        match self.0 {
            Flavor::MariaDb => "SELECT @@global.gtid_binlog_pos",
            Flavor::MySql => "SELECT @@global.gtid_executed",
        }
    }

    pub(super) fn start_channel(self, channel: &str) -> String {
        let channel = literal(channel);
        match self.0 {
            Flavor::MariaDb => format!("START SLAVE {channel}"),
            Flavor::MySql => format!("START REPLICA FOR CHANNEL {channel}"),
        }
    }
}

impl MySqlServer {
    /// Whoever connects is greeted, or told why not: the server speaks first, in both protocols.
    pub(super) async fn listen(&self) -> Life {
        let address = &self.login.address;
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let mut stream = match timeout(self.login.connect, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Life::Silent(error.to_string()),
            Err(_) => return Life::Silent(format!("no answer within {:?}", self.login.connect)),
        };
        let mut first = [0; 1];
        match timeout(self.login.connect, stream.read_exact(&mut first)).await {
            Ok(Ok(_)) => Life::Answers("it greets who connects".to_owned()),
            Ok(Err(_)) | Err(_) => Life::Accepts,
        }
    }

    pub(super) async fn stop_receiver(&self, channel: &str) -> Result<(), ServerError> {
        let now = self.channel_now(channel).await?;
        if now.sql == ThreadState::No {
            self.turn("START", channel, APPLIER).await?;
        }
        if now.io != ThreadState::No {
            self.turn("STOP", channel, RECEIVER).await?;
        }
        Ok(())
    }

    pub(super) async fn start_threads(
        &self,
        channel: &str,
        run: Threads,
    ) -> Result<(), ServerError> {
        let now = self.channel_now(channel).await?;
        if run.applier && now.sql == ThreadState::No {
            self.turn("START", channel, APPLIER).await?;
        }
        if run.receiver && now.io == ThreadState::No {
            self.turn("START", channel, RECEIVER).await?;
        }
        Ok(())
    }

    async fn channel_now(&self, channel: &str) -> Result<ReplicaView, ServerError> {
        let channels = self.read_channels().await?;
        channels.into_iter().find(|now| now.channel == channel).ok_or_else(|| {
            let reason = format!("it has no channel {channel:?} any more");
            self.login.error("start or stop replication", reason, Effect::Refused)
        })
    }

    async fn turn(&self, verb: &str, channel: &str, thread: &str) -> Result<(), ServerError> {
        let name = literal(channel);
        let sql = match self.dialect().await?.0 {
            Flavor::MariaDb => format!("{verb} SLAVE {name} {thread}"),
            Flavor::MySql => format!("{verb} REPLICA {thread} FOR CHANNEL {name}"),
        };
        self.act("start or stop replication", &sql, REPLICATION_BOUND).await?;
        Ok(())
    }
}
