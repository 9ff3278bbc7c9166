//! What operators ask for over the control socket, carried out.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use switchboard_actors::clock::Clock;
use switchboard_actors::ids::AdapterName;
use switchboard_actors::ledger::{Done, Ending, Knowledge, OutboxRow, Question, TurnState};
use switchboard_actors::protocol::{AdapterHealth, GetStatus, Hold, Hurry, Inquire, Order, Resume, Shutdown};
use switchboard_actors::shutdown::{RequestedBy, ShutdownKind};
use switchboard_actors::supervisor::Supervisor;

use super::reloading::{Outcome, Reloader};
use super::url::Url;
use super::vitals::Pulse;
use crate::caller::Caller;
use crate::config::Config;
use crate::control::{AdapterStatus, Farewell, Handle, ON_TRIAL, OutboxLine, Request, Response, RunningTask, Status};
use crate::false_starts;
use crate::history;
use crate::http::access::Gate;
use crate::http::health::{Part, Vitals};
use crate::keys::Rotation;
use crate::state_dir::StateDir;
use crate::watchdog::Watchdog;

/// How long a fresh look at the gateway may take.
const FRESH: Duration = Duration::from_secs(1);

/// Carries requests out. It holds nothing but addresses.
#[derive(Clone)]
pub(super) struct Operator {
    pub(super) supervisor: Addr<Supervisor>,
    pub(super) instance: switchboard_actors::ids::InstanceId,
    pub(super) pulse: Pulse,
    pub(super) reloader: Arc<Reloader>,
    pub(super) state: StateDir,
    pub(super) gate: Arc<Gate>,
    /// Where there is a page.
    pub(super) url: Option<Arc<Url>>,
    pub(super) watchdog: Watchdog,
    pub(super) version: &'static str,
    /// What it would change is lost with the trial, so it changes nothing.
    pub(super) on_trial: bool,
}

impl Operator {
    /// As it is now.
    fn config(&self) -> Arc<Config> {
        self.reloader.in_force.now()
    }

    async fn answer(self, request: Request, caller: Caller) -> Response {
        if self.on_trial && request.changes() {
            return Response::NotAchieved { reason: "a new version is on trial; in a moment it serves, or the old one is back".into() };
        }
        match request {
            Request::Status => self.status().await,
            Request::Stop(farewell) => self.go_down(ShutdownKind::Stop, farewell, &caller),
            Request::Restart(farewell) => self.go_down(ShutdownKind::Restart, farewell, &caller),
            Request::Update(farewell) => self.go_down(ShutdownKind::Update, farewell, &caller),
            Request::Reload => self.reload().await,
            Request::Drain => match self.supervisor.send(Hold).await {
                Ok(()) => done("no task starts any more; messages are saved. `switchboard resume` ends it"),
                Err(error) => not_achieved(&error),
            },
            Request::Resume => match self.supervisor.send(Resume).await {
                Ok(()) => done("tasks may start again"),
                Err(error) => not_achieved(&error),
            },
            Request::Turns => match self.inquire(Question::Turns).await {
                Ok(Knowledge::Turns(turns)) => Response::Turns { turns },
                other => unexpected(other),
            },
            Request::Outbox => match self.inquire(Question::Outbox).await {
                Ok(Knowledge::Outbox(rows)) => {
                    Response::Outbox { rows: rows.into_iter().filter(|row| !row.is_given_up()).map(line).collect() }
                }
                other => unexpected(other),
            },
            Request::Pairs => match self.inquire(Question::Pairs { at: Clock::system().wall() }).await {
                Ok(Knowledge::Pairs(pairs)) => Response::Pairs { pairs },
                other => unexpected(other),
            },
            Request::TurnRetry { turn } => self.order(Order::RetryTurn(turn), "no such turn, or it runs").await,
            Request::TurnDrop { turn } => self.order(Order::DropTurn(turn), "no such turn that was cut or parked").await,
            Request::OutboxRetry { id } => self.order(Order::RetryOutbox(id), "no such reply that failed").await,
            Request::OutboxDrop { id } => {
                self.order(Order::DropOutbox(id), "no such reply that could still be sent, or it is given up already").await
            }
            Request::PairApprove { code } => self.order(Order::Approve(code.to_uppercase()), "no such code, or it is too old").await,
            Request::PairRevoke { adapter, user } => {
                self.order(Order::Revoke(adapter, user), "nobody of that name was let in by a code; see `switchboard pair list`").await
            }
            Request::History { most } => match self.inquire(Question::Instances { most }).await {
                Ok(Knowledge::Instances(lives)) => {
                    let lives = history::lives(&lives, None, &false_starts::read(&self.state));
                    Response::History { lives: lives.into_iter().take(most as usize).collect() }
                }
                other => unexpected(other),
            },
            Request::Url => match &self.url {
                Some(url) => Response::Page { address: url.address() },
                None => not_achieved(&"there is no page: the web adapter is not enabled; see [adapters.web]"),
            },
            Request::Rotate { what } => self.rotate(what, &caller).await,
            Request::LedgerMove { from, to } => self.order(Order::MoveAdapter(from, to), "").await,
            Request::LedgerDrop { adapter } => self.order(Order::DropAdapter(adapter), "").await,
        }
    }

    /// Begins a shutdown; whoever asked sees its end by the end of the process.
    fn go_down(&self, kind: ShutdownKind, farewell: Farewell, caller: &Caller) -> Response {
        let grace = farewell.grace_millis.map(Duration::from_millis);
        let requested_by = RequestedBy::Operator(Some(caller.to_string()));
        let within = self.within(grace);
        self.supervisor.do_send(Shutdown { kind, grace, requested_by, reason: farewell.reason });
        // No time at all means no drain, not what the other phases leave of theirs.
        if grace == Some(Duration::ZERO) {
            self.supervisor.do_send(Hurry(None));
        }
        Response::GoingDown { instance: self.instance, kind, within_millis: u64::try_from(within.as_millis()).unwrap_or(u64::MAX) }
    }

    /// How long a shutdown that grants `grace` takes at most. One that joins another makes it shorter or leaves it as it is.
    fn within(&self, grace: Option<Duration>) -> Duration {
        let (under_way, config) = (self.watchdog.left(), self.config());
        match grace.map(|grace| config.longest_shutdown_within(grace)) {
            Some(granted) => under_way.map_or(granted, |left| left.min(granted)),
            None => under_way.unwrap_or_else(|| config.longest_shutdown()),
        }
    }

    async fn reload(&self) -> Response {
        match self.reloader.clone().reload("an operator").await {
            Outcome::Done { changes, restart, warnings } => Response::Reloaded { changes, restart, warnings },
            Outcome::Faulty(faults) => Response::Faulty { faults: faults.0.iter().map(ToString::to_string).collect() },
            Outcome::Refused(reason) => Response::NotAchieved { reason },
        }
    }

    async fn rotate(&self, rotation: Rotation, caller: &Caller) -> Response {
        let gate = self.gate.clone();
        match tokio::task::spawn_blocking(move || gate.rotate(rotation)).await {
            Ok(Ok(())) => {
                tracing::info!(what = rotation.in_words(), by = %caller, "made anew what opens");
                done(rotation.in_words())
            }
            Ok(Err(error)) => not_achieved(&error),
            Err(error) => not_achieved(&error),
        }
    }

    async fn order(&self, order: Order, lost: &str) -> Response {
        match self.supervisor.send(order).await {
            Ok(Ok(Done::Ok)) => done("done"),
            Ok(Ok(Done::Paired { adapter, user, name })) => {
                Response::Done { message: format!("{adapter}:{user} may speak now (\"{name}\")") }
            }
            Ok(Ok(Done::Moved(count))) => Response::Done { message: format!("{count} rows") },
            Ok(Ok(Done::Lost)) => Response::NotAchieved { reason: lost.to_owned() },
            Ok(Ok(Done::Refused(reason)) | Err(reason)) => Response::NotAchieved { reason },
            Ok(Ok(other)) => Response::NotAchieved { reason: format!("the ledger answered {other:?}") },
            Err(error) => not_achieved(&error),
        }
    }

    async fn inquire(&self, question: Question) -> Result<Knowledge, String> {
        match self.supervisor.send(Inquire(question)).await {
            Ok(answer) => answer.map_err(|fault| fault.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn status(&self) -> Response {
        // Who decides by this answer must not be told of half a second ago; one that hangs still has a pulse to show.
        let fresh = tokio::time::timeout(FRESH, self.supervisor.send(GetStatus)).await;
        let Some(now) = fresh.ok().and_then(Result::ok).map(|now| *now).or_else(|| self.pulse.status()) else {
            return Response::NotAchieved { reason: "the gateway is starting".into() };
        };
        let cut = match self.inquire(Question::Turns).await {
            Ok(Knowledge::Turns(turns)) => turns.iter().filter(|turn| turn.state != TurnState::Running).count(),
            _ => 0,
        };
        let owed = match self.inquire(Question::Outbox).await {
            Ok(Knowledge::Outbox(rows)) => rows.iter().filter(|row| !row.is_given_up()).count(),
            _ => 0,
        };
        let last_end = match self.inquire(Question::Instances { most: 1 }).await {
            Ok(Knowledge::Instances(lives)) => lives.first().and_then(|life| life.predecessor.as_ref()).map(Ending::to_string),
            _ => None,
        };
        let troubled: Vec<Part> = self.pulse.ready().into_iter().filter(|part| part.trouble.is_some()).collect();
        Response::Status(Box::new(Status {
            instance: now.instance,
            version: self.version.into(),
            pid: std::process::id(),
            uptime_millis: now.up_ms,
            doing: match (now.phase, &now.held) {
                (Some(phase), _) => phase.to_string(),
                (None, Some(held)) => held.clone(),
                (None, None) if self.on_trial => ON_TRIAL.into(),
                (None, None) => "serving".into(),
            },
            ready: troubled.is_empty(),
            troubled,
            sessions: now.sessions as u64,
            turns_running: now.running_count as u64,
            running: now.running.into_iter().map(|(session, for_millis)| RunningTask { session, for_millis }).collect(),
            turns_cut: cut as u64,
            messages_waiting: now.waiting as u64,
            replies_owed: owed as u64,
            adapters: now.adapters.into_iter().map(|(name, health)| self.adapter(name, health)).collect(),
            last_end,
        }))
    }

    fn adapter(&self, name: AdapterName, health: AdapterHealth) -> AdapterStatus {
        let (state, trouble) = match health {
            AdapterHealth::Connecting => ("connecting", None),
            AdapterHealth::Connected => ("connected", None),
            AdapterHealth::Broken(reason) => ("broken", Some(reason)),
            AdapterHealth::Ended => ("ended", None),
        };
        let kind = self.config().adapters.get(&name).map_or("", |adapter| adapter.kind.name());
        AdapterStatus { kind: kind.into(), name, state: state.into(), trouble }
    }
}

impl Handle for Operator {
    fn handle(&self, request: Request, caller: &Caller) -> BoxFuture<'static, Response> {
        self.clone().answer(request, caller.clone()).boxed()
    }
}

fn line(row: OutboxRow) -> OutboxLine {
    OutboxLine { id: row.id, chat: row.chat, state: row.state, tries: row.tries, at: row.at, reason: row.reason }
}

fn done(message: &str) -> Response {
    Response::Done { message: message.into() }
}

fn not_achieved(error: &dyn std::fmt::Display) -> Response {
    Response::NotAchieved { reason: error.to_string() }
}

fn unexpected(answer: Result<Knowledge, String>) -> Response {
    Response::NotAchieved { reason: answer.err().unwrap_or_else(|| "the ledger answered something else".into()) }
}
