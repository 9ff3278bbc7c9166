//! The configured adapters and agents, built.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Recipient;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use switchboard_actors::agent::Agent;
use switchboard_actors::agent::demo::Demo;
use switchboard_actors::agent::openai::{OpenAi, OpenAiConfig};
use switchboard_actors::ids::{AdapterName, AgentName, ChatId, Seq};
use switchboard_actors::ledger::{Knowledge, Question, RoomLine};
use switchboard_actors::platform::Platform;
use switchboard_actors::platform::console::Console;
use switchboard_actors::platform::telegram::{Telegram, TelegramConfig};
use switchboard_actors::platform::web::{Hub, RoomLog, Web};
use switchboard_actors::protocol::Inquire;
use switchboard_actors::settings::AdapterSettings;

use crate::config::{AdapterConfig, AdapterKind, AgentConfig, Config};

/// A pooled connection that died unseen makes a send unknown: it is not kept for long.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// What the actor system is given.
pub(super) struct Parts {
    pub(super) adapters: Vec<(AdapterSettings, Arc<dyn Platform>)>,
    pub(super) agents: HashMap<AgentName, Arc<dyn Agent>>,
    /// The web adapter, if it is enabled.
    pub(super) web: Option<(AdapterName, Hub)>,
    pub(super) log: Arc<LedgerLog>,
}

/// Builds what the configuration names.
pub(super) fn build(config: &Config) -> Result<Parts, String> {
    let log = Arc::new(LedgerLog::default());
    let tls = super::trust::client_config().map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let client = || reqwest::Client::builder().pool_idle_timeout(POOL_IDLE).tls_backend_preconfigured(tls.clone());
    let mut parts = Parts { adapters: Vec::new(), agents: HashMap::new(), web: None, log: log.clone() };
    for (name, agent) in &config.agents {
        parts.agents.insert(name.clone(), self::agent(name, agent, client())?);
    }
    for (name, adapter) in config.adapters.iter().filter(|(_, adapter)| adapter.enabled) {
        let AdapterConfig { settings, kind, .. } = adapter;
        let mut settings = settings.clone();
        let platform: Arc<dyn Platform> = match kind {
            AdapterKind::Web => {
                let hub = Hub::new(name.clone(), config.http.waiting as usize, log.clone());
                parts.web = Some((name.clone(), hub.clone()));
                // Whoever holds the token is allowed; HTTP has seen it.
                settings.access.allow = vec!["*".into()];
                Arc::new(Web::new(hub))
            }
            AdapterKind::Console if !std::io::IsTerminal::is_terminal(&std::io::stdin()) => {
                tracing::info!(adapter = %name, "stdin is no terminal: the console stays closed");
                continue;
            }
            AdapterKind::Console => {
                let operator = format!("{name}:local");
                settings.access.allow.push(operator.clone());
                settings.access.admins.push(operator);
                Arc::new(Console::stdio().map_err(|error| format!("adapters.{name}: the terminal cannot be read: {error}"))?)
            }
            AdapterKind::Telegram { token, api_root, poll } => {
                let token = token.as_ref().ok_or_else(|| format!("adapters.{name}.token: there is none"))?.expose().to_owned();
                let call_limit = config.settings.outbox.send_limit;
                let client = client().redirect(reqwest::redirect::Policy::none()).build();
                let client = client.map_err(|error| format!("adapters.{name}: no HTTP client: {}", error.without_url()))?;
                let telegram = TelegramConfig { adapter: name.clone(), token, api_root: api_root.clone(), poll: *poll, call_limit };
                Arc::new(Telegram::new(telegram, client))
            }
        };
        parts.adapters.push((settings, platform));
    }
    Ok(parts)
}

impl Parts {
    /// Leaves out whoever hears, says or works.
    pub(super) fn hear_and_say_nothing(&mut self) {
        self.adapters.clear();
        self.agents.clear();
        self.web = None;
    }
}

fn agent(name: &AgentName, config: &AgentConfig, client: reqwest::ClientBuilder) -> Result<Arc<dyn Agent>, String> {
    Ok(match config {
        AgentConfig::Demo => Arc::new(Demo),
        AgentConfig::OpenAi(openai) => {
            let config = OpenAiConfig {
                agent: name.clone(),
                base_url: openai.base_url.clone(),
                model: openai.model.clone(),
                api_key: openai.api_key.as_ref().map(|key| key.expose().to_owned()),
                system: openai.system.clone(),
                connect_limit: openai.connect_limit,
                byte_limit: openai.byte_limit,
                tries: openai.tries,
                max_answer_bytes: openai.max_answer_bytes as usize,
            };
            Arc::new(OpenAi::new(config, client).map_err(|reason| format!("agents.{name}: {reason}"))?)
        }
    })
}

/// The room's log of the web chat is the ledger, asked through the supervisor once there is one.
#[derive(Default)]
pub(super) struct LedgerLog(OnceLock<Recipient<Inquire>>);

impl LedgerLog {
    pub(super) fn connect(&self, ledger: Recipient<Inquire>) {
        // There is one supervisor in a life.
        _ = self.0.set(ledger);
    }
}

impl RoomLog for LedgerLog {
    fn read(&self, chat: ChatId, after: Seq, most: u32) -> BoxFuture<'static, Result<Vec<RoomLine>, String>> {
        let ledger = self.0.get().cloned();
        async move {
            let ledger = ledger.ok_or("the gateway is starting")?;
            match ledger.send(Inquire(Question::Room { chat, after, most })).await {
                Ok(Ok(Knowledge::Room(lines))) => Ok(lines),
                Ok(Ok(_)) => Err("the ledger answered something else".to_owned()),
                Ok(Err(fault)) => Err(fault.to_string()),
                Err(error) => Err(error.to_string()),
            }
        }
        .boxed()
    }
}
