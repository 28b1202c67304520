//! What a program holds: the client, and handles to steer it from other tasks. All work is done by the task behind it.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::client::connection::{Command, Connection};
use crate::client::dial::Dialer;
use crate::client::error::Error;
use crate::client::login::Login;
use crate::client::options::Options;
use crate::client::push::Push;
use crate::client::status::{Phase, Status};
use crate::model::clock::Clock;
use crate::model::frame::LoggedIn;
use crate::model::id::{MessageId, TopicName};
use crate::model::message::Urgency;
use crate::wire::device::{DISMISSALS_PER_CALL_MAX, TOPICS_PER_CALL_MAX, check_attributes};

/// Requests of the program that wait for the task; a further one waits for a place.
const COMMANDS_MAX: usize = 16;

/// A client: one connection to a gateway, made anew whenever it is lost. Dropped, it lets go of the connection at once;
/// [`Client::close`] ends it in order.
#[derive(Debug)]
pub struct Client {
    /// Pushes that wait for the program.
    pushes: mpsc::Receiver<Push>,
    handle: Handle,
    /// Whether the terminal error was given out by [`Client::next`].
    told: bool,
    /// Ends the task when the client is dropped.
    _task: AbortOnDropHandle<()>,
}

impl Client {
    /// Connects. Comes back when the gateway's welcome arrived; tries again after temporary errors, as long as
    /// [`Options::connect_timeout`] allows.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options that cannot work; the terminal error that ended it; the last temporary error, or
    /// [`Error::TimedOut`] without one, when the time was over.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        options.check()?;
        let clock = Clock::new();
        let dialer = Dialer::new(&options, clock)?;
        let (queue, pushes) = mpsc::channel(options.window as usize);
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (status, watched) = watch::channel(Status::default());
        let connection = Connection::new(&options, dialer, clock, inbox, queue, status);
        let task = AbortOnDropHandle::new(tokio::spawn(connection.run()));
        let mut handle = Handle { commands, status: watched };
        match timeout(options.connect_timeout, handle.connected()).await {
            Ok(result) => result?,
            Err(_) => {
                let last = handle.status.borrow().last_failure.clone();
                return Err(last.unwrap_or(Error::TimedOut("connecting")));
            }
        }
        Ok(Self { pushes, handle, told: false, _task: task })
    }

    /// Logs in, on a connection of its own, and gives the access token. `options.token` is not used. To log in whenever a
    /// token is needed, give the login as [`Options::provider`] instead.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options that cannot work; [`Error::Refused`] with the name `login_refused` when the gateway
    /// does not take the credential, whatever the reason; what keeps the gateway from being reached or from checking it.
    pub async fn login(options: &Options, login: &Login) -> Result<LoggedIn, Error> {
        let options = Options { token: "none yet".to_owned(), ..options.clone() };
        options.check()?;
        let dialer = Dialer::new(&options, Clock::new())?;
        let told = timeout(options.connect_timeout, dialer.log_in(login, &options.agent));
        told.await.unwrap_or(Err(Error::TimedOut("logging in")))
    }

    /// The next push. `None` when no more will come: after [`Client::close`], or after the terminal error, which is given
    /// out once. Lost connections in between show in [`Handle::status`] only. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Push, Error>> {
        if let Some(push) = self.pushes.recv().await {
            return Some(Ok(push));
        }
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        match &self.handle.status.borrow().phase {
            Phase::Ended { why } => why.clone().map(Err),
            // The task went without a word, because its runtime is being shut down.
            _ => Some(Err(Error::Ended)),
        }
    }

    /// A handle for other tasks.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// See [`Handle::subscribe`].
    ///
    /// # Errors
    /// See [`Handle::subscribe`].
    pub async fn subscribe<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) -> Result<u32, Error> {
        self.handle.subscribe(topics).await
    }

    /// See [`Handle::unsubscribe`].
    ///
    /// # Errors
    /// See [`Handle::unsubscribe`].
    pub async fn unsubscribe<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) -> Result<u32, Error> {
        self.handle.unsubscribe(topics).await
    }

    /// See [`Handle::update`].
    ///
    /// # Errors
    /// See [`Handle::update`].
    pub async fn update(&self, urgency_floor: Option<Urgency>, window: Option<u32>) -> Result<(Urgency, u32), Error> {
        self.handle.update(urgency_floor, window).await
    }

    /// See [`Handle::describe`].
    ///
    /// # Errors
    /// See [`Handle::describe`].
    pub async fn describe(&self, attributes: BTreeMap<String, String>) -> Result<(), Error> {
        self.handle.describe(attributes).await
    }

    /// See [`Handle::dismiss`].
    ///
    /// # Errors
    /// See [`Handle::dismiss`].
    pub async fn dismiss(&self, messages: impl IntoIterator<Item = MessageId>) -> Result<u32, Error> {
        self.handle.dismiss(messages).await
    }

    /// See [`Handle::flush`].
    ///
    /// # Errors
    /// See [`Handle::flush`].
    pub async fn flush(&self) -> Result<(), Error> {
        self.handle.flush().await
    }

    /// See [`Handle::status`].
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.handle.status()
    }

    /// Waits until all acks handed in so far are confirmed, then ends the connection in order. Pushes that were delivered
    /// and not settled come again to the next client.
    ///
    /// # Errors
    /// When not all acks could be confirmed ([`Error::Unconfirmed`], [`Error::TimedOut`]); the client ended all the same.
    pub async fn close(self) -> Result<(), Error> {
        let Self { pushes, handle, _task: task, .. } = self;
        // Lets the task see the frames behind a full queue, and settles what waits as not handled.
        drop(pushes);
        let result = handle.ask(Command::Close).await;
        // Ends within the time that the goodbye to the gateway may take.
        let _ = task.await;
        match result {
            // It had ended before, with the acks of its last session.
            Err(Error::Ended) => Ok(()),
            result => result,
        }
    }
}

/// Steers a client from any task. It does not keep the client alive.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

impl Handle {
    /// Follows topics from now on; durable when it comes back. Repeating it is harmless. Gives the number of topics the
    /// device follows then.
    ///
    /// # Errors
    /// [`Error::Invalid`] for names that are none or too many; [`Error::NotConnected`] without a session; what the
    /// gateway answers.
    pub async fn subscribe<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) -> Result<u32, Error> {
        let topics = check(topics)?;
        self.ask(|reply| Command::Subscribe(topics, reply)).await
    }

    /// Stops following topics at once. Repeating it is harmless. Gives the number of topics the device follows then.
    ///
    /// # Errors
    /// As [`Handle::subscribe`].
    pub async fn unsubscribe<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) -> Result<u32, Error> {
        let topics = check(topics)?;
        self.ask(|reply| Command::Unsubscribe(topics, reply)).await
    }

    /// Changes the least urgency that is delivered, the window, or both; later sessions ask for the same. Gives what the
    /// gateway agreed to. Not more pushes wait in the client than [`Options::window`] said, whatever the window.
    ///
    /// # Errors
    /// [`Error::NotConnected`] without a session; what the gateway answers.
    pub async fn update(&self, urgency_floor: Option<Urgency>, window: Option<u32>) -> Result<(Urgency, u32), Error> {
        self.ask(|reply| Command::Update { urgency_floor, window, reply }).await
    }

    /// Replaces what conditions may ask about this device; durable when it comes back, and later sessions say the same.
    /// See [`Options::attributes`] for the bounds.
    ///
    /// # Errors
    /// [`Error::Invalid`] for attributes that are none; [`Error::NotConnected`] without a session; what the gateway
    /// answers.
    pub async fn describe(&self, attributes: BTreeMap<String, String>) -> Result<(), Error> {
        check_attributes(&attributes).map_err(|fault| Error::Invalid(fault.words.into_owned()))?;
        self.ask(|reply| Command::Describe(attributes, reply)).await
    }

    /// The user has seen these messages here: the user's other devices are told to take them away ([`Push::dismissal`]),
    /// and those that did not receive them yet never will. Durable when it comes back; repeating it is harmless. On this
    /// device they are still to be settled. Gives how many were dismissed now.
    ///
    /// # Errors
    /// [`Error::Invalid`] for none or more than 100 messages; [`Error::NotConnected`] without a session; what the gateway
    /// answers.
    pub async fn dismiss(&self, messages: impl IntoIterator<Item = MessageId>) -> Result<u32, Error> {
        let messages: Vec<MessageId> = messages.into_iter().collect();
        if messages.is_empty() || messages.len() > DISMISSALS_PER_CALL_MAX {
            return Err(Error::Invalid(format!("messages: name 1 to {DISMISSALS_PER_CALL_MAX} in one call")));
        }
        self.ask(|reply| Command::Dismiss(messages, reply)).await
    }

    /// Waits until the gateway confirmed all settlements handed in so far in this session.
    ///
    /// # Errors
    /// [`Error::Unconfirmed`] when the connection is lost meanwhile, or is down with settlements unconfirmed: those the
    /// gateway did not take come again and are acked by the client itself. [`Error::Refused`] when an ack was refused.
    pub async fn flush(&self) -> Result<(), Error> {
        self.ask(Command::Flush).await
    }

    /// The state of the connection, and changes of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits for the first session or the end.
    async fn connected(&mut self) -> Result<(), Error> {
        let reached = |status: &Status| status.sessions > 0 || matches!(status.phase, Phase::Ended { .. });
        let status = self.status.wait_for(reached).await.map_err(|_| Error::Ended)?;
        match &status.phase {
            Phase::Ended { why } => Err(why.clone().unwrap_or(Error::Ended)),
            _ => Ok(()),
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Error::Ended)?;
        match answer.await {
            Ok(result) => result,
            Err(_) if matches!(self.status.borrow().phase, Phase::Ended { .. }) => Err(Error::Ended),
            Err(_) => Err(Error::NotConnected),
        }
    }
}

fn check<T: AsRef<str>>(topics: impl IntoIterator<Item = T>) -> Result<Vec<TopicName>, Error> {
    let mut checked = Vec::new();
    for topic in topics {
        let topic = topic.as_ref();
        checked.push(TopicName::new(topic).map_err(|why| Error::Invalid(format!("topic {topic:?}: {why}")))?);
    }
    if checked.is_empty() || checked.len() > TOPICS_PER_CALL_MAX {
        return Err(Error::Invalid(format!("topics: name 1 to {TOPICS_PER_CALL_MAX} in one call")));
    }
    Ok(checked)
}
