//! What a worker thread serves by. It is replaced as a whole when the configuration is read again; whoever is being served
//! keeps what there was, but for a held request: that goes on by what there is when it goes on.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hold::{Generation, Lane, State};
use http::HeaderValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bypass::Bypass;
use super::control::AppControl;
use super::error_pages::ErrorPages;
use super::pool::Pool;
use super::route::Routes;
use super::upstream::{Standing, Upstream, next};
use crate::config::gate::{App as AppSettings, Gate as Settings, Upgrades};
use crate::shutdown::Shutdown;

/// Never the same for two apps of one process, also not one after the other.
pub(crate) type AppId = usize;

/// What all workers are given.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) settings: Arc<Settings>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) apps: Arc<[GivenApp]>,
    /// For what belongs to no app.
    pub(crate) pages: Arc<ErrorPages>,
}

#[derive(Debug, Clone)]
pub(crate) struct GivenApp {
    pub(crate) id: AppId,
    pub(crate) settings: Arc<AppSettings>,
    pub(crate) control: Arc<AppControl>,
    /// Changes when a hold begins.
    pub(crate) holds: watch::Receiver<()>,
    /// One for each of its upstreams.
    pub(crate) standings: Vec<Arc<Standing>>,
    pub(crate) pages: Arc<ErrorPages>,
    pub(crate) bypass: Arc<Bypass>,
}

/// An app's way in for one worker.
pub(crate) type Lanes = HashMap<AppId, Lane>;

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) settings: Settings,
    pub(crate) routes: Arc<Routes>,
    pub(crate) apps: Vec<Rc<App>>,
    pub(crate) pages: Arc<ErrorPages>,
    /// Cancelled when there is another.
    over: CancellationToken,
}

/// One app as this worker sees it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) id: AppId,
    pub(crate) settings: AppSettings,
    pub(crate) lane: Lane,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) pages: Arc<ErrorPages>,
    pub(crate) bypass: Arc<Bypass>,
    pub(crate) control: Arc<AppControl>,
    holds: watch::Receiver<()>,
    turn: Cell<usize>,
}

/// The one there is now.
#[derive(Debug)]
pub(crate) struct Current(RefCell<Rc<Live>>);

impl Current {
    pub(crate) fn new(live: Live) -> Self {
        Self(RefCell::new(Rc::new(live)))
    }

    pub(crate) fn get(&self) -> Rc<Live> {
        Rc::clone(&self.0.borrow())
    }

    pub(crate) fn look(&self) -> Ref<'_, Live> {
        Ref::map(self.0.borrow(), Rc::as_ref)
    }

    /// Connections to upstreams that are there no more are closed when they are idle.
    pub(crate) fn replace(&self, live: Live) -> Rc<Live> {
        let new = Rc::new(live);
        let old = self.0.replace(Rc::clone(&new));
        old.over.cancel();
        for upstream in old.apps.iter().flat_map(|app| &app.upstreams) {
            let is_kept = |other: &&Upstream| Rc::ptr_eq(&other.pool, &upstream.pool);
            if !new.apps.iter().flat_map(|app| &app.upstreams).any(|other| is_kept(&other)) {
                upstream.pool.close();
            }
        }
        new
    }
}

impl Live {
    /// By what is given, with what `old` has of it, and otherwise with `lanes`. An app without a lane is left out: there is
    /// none.
    pub(crate) fn new(
        given: &Given,
        lanes: &Lanes,
        old: Option<&Self>,
        first_turn: usize,
        tasks: &Shutdown,
    ) -> Self {
        let apps = given.apps.iter().filter_map(|app| {
            let old = old.and_then(|old| old.app(app.id));
            let lane = old.map(|old| &old.lane).or_else(|| lanes.get(&app.id))?.clone();
            Some(Rc::new(App::new(
                app,
                lane,
                old.map(Rc::as_ref),
                &given.settings,
                first_turn,
                tasks,
            )))
        });
        let apps = apps.collect();
        let (settings, routes) = ((*given.settings).clone(), Arc::clone(&given.routes));
        let pages = Arc::clone(&given.pages);
        Self { settings, routes, apps, pages, over: CancellationToken::new() }
    }

    /// The worker serves by another one, or ends.
    pub(crate) async fn over(&self, worker: &Shutdown) {
        tokio::select! {
            () = self.over.cancelled() => {}
            () = worker.stopping() => {}
        }
    }

    pub(crate) fn app(&self, id: AppId) -> Option<&Rc<App>> {
        self.apps.iter().find(|app| app.id == id)
    }
}

impl App {
    fn new(
        given: &GivenApp,
        lane: Lane,
        old: Option<&Self>,
        settings: &Settings,
        first_turn: usize,
        tasks: &Shutdown,
    ) -> Self {
        let (idle_max, idle_timeout) = (settings.upstream_idle_max, settings.upstream_idle_timeout);
        let upstream = |standing: &Arc<Standing>| {
            let same = |upstream: &&Upstream| Arc::ptr_eq(&upstream.standing, standing);
            let pool = old
                .and_then(|old| old.upstreams.iter().find(same))
                .map(|upstream| Rc::clone(&upstream.pool))
                .filter(|pool| pool.is_bounded_by(idle_max, idle_timeout));
            let tasks = tasks.clone();
            let new = || Pool::new(idle_max, idle_timeout, Arc::clone(standing), tasks);
            Upstream::new(Arc::clone(standing), pool.unwrap_or_else(new))
        };
        Self {
            id: given.id,
            settings: (*given.settings).clone(),
            lane,
            upstreams: given.standings.iter().map(upstream).collect(),
            pages: Arc::clone(&given.pages),
            bypass: Arc::clone(&given.bypass),
            control: Arc::clone(&given.control),
            holds: given.holds.clone(),
            turn: Cell::new(first_turn),
        }
    }

    /// Tells of holds from now on, if they close upgraded connections.
    pub(crate) fn closing_holds(&self) -> Option<watch::Receiver<()>> {
        match self.settings.upgrades {
            Upgrades::Keep => None,
            Upgrades::Close => Some(self.holds_from_now_on()),
        }
    }

    pub(crate) fn holds_from_now_on(&self) -> watch::Receiver<()> {
        let mut holds = self.holds.clone();
        holds.mark_unchanged();
        holds
    }

    /// Whether a hold waits for the requests in flight, this one too.
    pub(crate) fn is_draining(&self) -> bool {
        self.control.hold.status().state == State::Draining
    }

    /// Of which hold it is the end that it is open; nothing where it is not.
    pub(crate) fn open_since(&self) -> Option<Generation> {
        let status = self.control.hold.status();
        (status.state == State::Open).then_some(status.generation)
    }

    pub(crate) fn is_endless(&self, content_type: &HeaderValue) -> bool {
        let kind = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let kind = kind.trim_ascii();
        let mut endless = self.settings.endless_types.iter();
        endless.any(|endless| endless.as_bytes().eq_ignore_ascii_case(kind))
    }

    /// Where the search for an upstream begins; another place for each request.
    pub(crate) fn take_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// The upstream to try next, with its index among all.
    pub(crate) fn next_upstream(&self, turn: usize, tried: &[usize]) -> Option<(usize, &Upstream)> {
        let index = next(&self.upstreams, self.settings.balance, turn, tried)?;
        Some((index, self.upstreams.get(index)?))
    }

    pub(crate) fn try_duration(&self) -> Duration {
        self.settings.try_duration
    }
}
