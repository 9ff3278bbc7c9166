//! Another configuration while everything runs: what differs is touched, and nobody else notices.
//!
//! An adapter with another platform connects anew and keeps what it has to say. One that is configured no more is *retired*: it hears and says
//! nothing, and its sessions leave memory as they come to rest. A turn that runs ends first; its reply is owed in the ledger, beside
//! what waits there. Should the adapter come back, so do they.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};

use super::{Stage, Supervisor};
use crate::ids::AdapterName;
use crate::ledger::{Knowledge, OpenWork, Question};
use crate::platform::Platform;
use crate::protocol::{AdapterHealth, Disconnect, Flush, Leave, Reconfigure, Refit, SetGate, SetRules};
use crate::session::machine::{Gate, Rules};
use crate::settings::AdapterSettings;
use crate::supervisor::books::Retired;

impl Handler<Reconfigure> for Supervisor {
    type Result = Result<(), String>;

    fn handle(&mut self, order: Reconfigure, ctx: &mut Context<Self>) -> Self::Result {
        self.may_take_over(&order)?;
        let Reconfigure { settings, agents, adapters } = order;
        let idle_after = std::mem::replace(&mut self.settings, settings.clone()).session.idle_after;
        self.adapter_shared.settings.replace(settings); // the sessions' as well
        self.agents = agents;
        self.desk.set(self.settings.session.clone());
        self.desk.doors.hang(adapters.iter().map(|(set, _)| (set.name.clone(), set.access.clone())));
        self.set_rules();
        if idle_after != self.settings.session.idle_after {
            self.sweep(ctx);
        }
        let stays = |name: &AdapterName| adapters.iter().any(|(set, _)| set.name == *name);
        let gone: Vec<AdapterName> = self.books.adapters.keys().filter(|name| !stays(name)).cloned().collect();
        gone.into_iter().for_each(|name| self.retire(name));
        for (set, platform) in adapters {
            self.refit(set, platform, ctx);
        }
        self.check_ready(ctx);
        self.run_again(ctx);
        Ok(())
    }
}

impl Supervisor {
    /// Everything that could fail is found before anything is touched.
    fn may_take_over(&self, order: &Reconfigure) -> Result<(), String> {
        match self.stage {
            Stage::Waking => return Err("the gateway is starting; try again when it is ready".into()),
            Stage::GoingDown(_) => return Err("the gateway is going down; the next one reads the configuration anew".into()),
            Stage::Serving => {}
        }
        for (AdapterSettings { name, agent, .. }, platform) in &order.adapters {
            if !order.agents.contains_key(agent) {
                return Err(format!("adapters.{name}.agent: there is no agent {agent}"));
            }
            let here = self.books.adapters.get(name);
            let retired = self.books.retired.get(name).map(|retired| &retired.entry);
            match (here.or(retired).map(|entry| entry.kind), platform.as_ref().map(|platform| platform.kind())) {
                (Some(old), Some(new)) if old != new => {
                    return Err(format!("adapters.{name}: it still speaks as {old}; it can be {new} after a restart"));
                }
                (_, None) if here.is_none() => return Err(format!("adapters.{name}: it is not here, and has no platform")),
                _ => {}
            }
        }
        Ok(())
    }

    fn set_rules(&self) {
        let rules = Arc::new(Rules::of(&self.settings.session));
        if self.session_shared.rules.now() != rules {
            self.session_shared.rules.replace(rules.clone());
            self.books.sessions.values().for_each(|entry| entry.addr.do_send(SetRules(rules.clone())));
        }
    }

    /// An adapter that is to be: started, called back, or told how it is set now.
    fn refit(&mut self, set: AdapterSettings, platform: Option<Arc<dyn Platform>>, ctx: &mut Context<Self>) {
        let (name, now) = (set.name.clone(), self.clock.now());
        let (new, back) = (!self.books.adapters.contains_key(&name), self.call_back(&name));
        match (self.books.adapters.get_mut(&name), platform) {
            (Some(entry), platform) => {
                if let Some(agent) = self.agents.get(&set.agent) {
                    entry.post.agent.replace(agent.clone());
                }
                if platform.is_some() {
                    (entry.health, entry.not_before) = (AdapterHealth::Connecting, now);
                }
                entry.addr.do_send(Refit { set, platform });
            }
            (None, Some(platform)) => self.start_adapter(set, platform, Duration::ZERO),
            (None, None) => {}
        }
        if new || back {
            self.find_open(name, ctx);
        }
    }

    /// Takes up what is open for the sake of an adapter, once the ledger tells.
    pub(super) fn find_open(&self, adapter: AdapterName, ctx: &Context<Self>) {
        let me = ctx.address();
        self.ledger.ask(Question::Open, move |open| {
            let open = match open {
                Ok(Knowledge::Open(open)) => Some(open),
                _ => None,
            };
            me.do_send(FoundOpen { adapter, open });
        });
    }

    /// From here on nobody speaks to its platform. Its sessions leave as they come to rest.
    fn retire(&mut self, name: AdapterName) {
        let Some(entry) = self.books.adapters.remove(&name) else { return };
        tracing::info!(adapter = %name, "adapter retired");
        entry.addr.do_send(Disconnect);
        entry.addr.do_send(Flush);
        let its = self.books.sessions.iter().filter(|(key, _)| key.chat.adapter == name);
        let sessions = its.map(|(_, session)| session.addr.do_send(SetGate(Gate::Gone))).count();
        // Nobody delivers these before the adapter is back: they are the ledger's business.
        self.books.owed.retain(|key, _| key.chat.adapter != name);
        self.books.retired.insert(name, Retired { entry, sessions, sends: true });
    }

    /// Takes an adapter back that is retired and not yet gone. Whether there was one.
    fn call_back(&mut self, name: &AdapterName) -> bool {
        let Some(Retired { entry, .. }) = self.books.retired.remove(name) else { return false };
        self.books.adapters.insert(name.clone(), entry);
        let gate = self.gate();
        for (_, session) in self.books.sessions.iter().filter(|(key, _)| key.chat.adapter == *name) {
            session.addr.do_send(SetGate(gate));
        }
        true
    }

    /// A session of this adapter is gone.
    pub(super) fn left_retired(&mut self, name: &AdapterName) {
        if let Some(retired) = self.books.retired.get_mut(name) {
            retired.sessions = retired.sessions.saturating_sub(1);
            self.let_go(name);
        }
    }

    /// Nothing of this adapter is being sent any more.
    pub(super) fn sent_retired(&mut self, name: &AdapterName) {
        if let Some(retired) = self.books.retired.get_mut(name) {
            retired.sends = false;
            self.let_go(name);
        }
    }

    /// A retired adapter with nothing left to see to ends.
    fn let_go(&mut self, name: &AdapterName) {
        if self.books.retired.get(name).is_some_and(|retired| retired.sessions == 0 && !retired.sends)
            && let Some(Retired { entry, .. }) = self.books.retired.remove(name)
        {
            entry.addr.do_send(Leave);
        }
    }
}

/// What the ledger has open, for the sake of an adapter that is new or back, or has what was another's; `None`: it could not say.
#[derive(Message)]
#[rtype(result = "()")]
struct FoundOpen {
    adapter: AdapterName,
    open: Option<Box<OpenWork>>,
}

impl Handler<FoundOpen> for Supervisor {
    type Result = ();

    fn handle(&mut self, FoundOpen { adapter, open }: FoundOpen, ctx: &mut Context<Self>) {
        let Some(open) = open else {
            ctx.run_later(self.settings.ledger.retry_first, move |supervisor, ctx| supervisor.find_open(adapter, ctx));
            return;
        };
        let OpenWork { cut, commands, requests, waiting, .. } = *open;
        for cut in cut.into_iter().filter(|cut| cut.session.chat.adapter == adapter) {
            self.take_up(cut, ctx);
        }
        self.run_again(ctx);
        for command in commands.into_iter().filter(|command| command.session.chat.adapter == adapter) {
            self.carry_out_again(command, ctx);
        }
        self.answer_requests(requests.into_iter().filter(|request| request.session.chat.adapter == adapter).collect(), ctx);
        // Sessions in memory know what waits there.
        let waiting = waiting.into_iter().map(|waiting| waiting.session);
        let asleep = waiting.filter(|session| session.chat.adapter == adapter && !self.books.is_here(session)).collect();
        self.wake_sessions(asleep, ctx);
    }
}
