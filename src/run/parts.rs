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
use switchboard_actors::ids::{AdapterName, AgentName, ChatId};
use switchboard_actors::ledger::{Knowledge, Question, RoomLine, Span};
use switchboard_actors::platform::Platform;
use switchboard_actors::platform::console::Console;
use switchboard_actors::platform::telegram::{Telegram, TelegramConfig};
use switchboard_actors::platform::web::{Hub, RoomLog, Web};
use switchboard_actors::protocol::{Inquire, Reconfigure};
use switchboard_actors::settings::AdapterSettings;

use crate::config::{AdapterConfig, AdapterKind, AgentConfig, Config};
use crate::loopback;
use crate::reload::{Change, Fate, Plan};

/// A pooled connection that died unseen makes a send unknown: it is not kept for long.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// What the actor system is given.
pub(super) struct Parts {
    pub(super) adapters: Vec<(AdapterSettings, Arc<dyn Platform>)>,
    pub(super) agents: Agents,
    /// The web adapter, if it is enabled.
    pub(super) web: Option<(AdapterName, Hub)>,
}

/// The agents, by name.
pub(super) type Agents = HashMap<AgentName, Arc<dyn Agent>>;

/// Where parts are built, at the start and again when the configuration changes.
pub(super) struct Workshop {
    tls: rustls::ClientConfig,
    log: Arc<LedgerLog>,
}

impl Workshop {
    /// A workshop; what it builds asks the ledger through `log`.
    pub(super) fn open(log: Arc<LedgerLog>) -> Result<Self, String> {
        let tls = super::trust::client_config().map_err(|error| format!("TLS cannot be set up: {error}"))?;
        Ok(Self { tls, log })
    }

    /// Builds everything that the configuration names.
    pub(super) fn build(&self, config: &Config) -> Result<Parts, String> {
        let mut parts = Parts { adapters: Vec::new(), agents: HashMap::new(), web: None };
        for (name, agent) in &config.agents {
            parts.agents.insert(name.clone(), self.agent(name, agent)?);
        }
        for (name, adapter) in config.adapters.iter().filter(|(_, adapter)| adapter.enabled) {
            if !has_its_place(&adapter.kind) {
                tracing::info!(adapter = %name, "stdin is no terminal: the console stays closed");
                continue;
            }
            let platform = match &adapter.kind {
                AdapterKind::Web => {
                    let hub = Hub::new(name.clone(), config.http.waiting as usize, self.log.clone());
                    parts.web = Some((name.clone(), hub.clone()));
                    Arc::new(Web::new(hub))
                }
                _ => self.platform(name, adapter, config)?,
            };
            parts.adapters.push((settings(adapter), platform));
        }
        Ok(parts)
    }

    /// Builds what differs, for a gateway that runs with these agents; what stays is taken from there.
    pub(super) fn rebuild(&self, plan: &Plan, running: &Agents) -> Result<Reconfigure, String> {
        let config = &plan.in_force;
        let mut agents = HashMap::new();
        for (name, agent) in &config.agents {
            let stays =
                running.get(name).filter(|_| !plan.changes.iter().any(|change| matches!(change, Change::Agent(other, _) if other == name)));
            agents.insert(name.clone(), stays.cloned().map_or_else(|| self.agent(name, agent), Ok)?);
        }
        let mut adapters = Vec::new();
        for (name, adapter) in config.adapters.iter().filter(|(_, adapter)| adapter.enabled && has_its_place(&adapter.kind)) {
            let anew = plan.changes.iter().any(|change| match change {
                Change::Adapter(other, Fate::Added | Fate::ConnectsAnew(_)) => other == name,
                _ => false,
            });
            let platform = anew.then(|| self.platform(name, adapter, config)).transpose()?;
            adapters.push((settings(adapter), platform));
        }
        Ok(Reconfigure { settings: Arc::new(config.settings.clone()), agents, adapters })
    }

    /// A client of whoever is at this address and, since it follows no redirects, of nobody else. Proxies are those of the environment, but what stays
    /// on this machine goes through none: its key would go to the proxy, and from there most likely nowhere.
    fn client(&self, address: &str) -> reqwest::ClientBuilder {
        let client = reqwest::Client::builder().pool_idle_timeout(POOL_IDLE).tls_backend_preconfigured(self.tls.clone());
        let client = client.redirect(reqwest::redirect::Policy::none());
        if loopback::is(address) { client.no_proxy() } else { client }
    }

    /// Builds one platform but the page, which is more than that.
    fn platform(&self, name: &AdapterName, adapter: &AdapterConfig, config: &Config) -> Result<Arc<dyn Platform>, String> {
        Ok(match &adapter.kind {
            AdapterKind::Web => return Err(format!("adapters.{name}: the page comes with the process")),
            AdapterKind::Console => {
                Arc::new(Console::stdio().map_err(|error| format!("adapters.{name}: the terminal cannot be read: {error}"))?)
            }
            AdapterKind::Telegram { token, api_root, poll } => {
                let token = token.as_ref().ok_or_else(|| format!("adapters.{name}.token: there is none"))?.expose().to_owned();
                let call_limit = config.settings.outbox.send_limit;
                let client = self.client(api_root).build();
                let client = client.map_err(|error| format!("adapters.{name}: no HTTP client: {}", error.without_url()))?;
                let telegram = TelegramConfig { adapter: name.clone(), token, api_root: api_root.clone(), poll: *poll, call_limit };
                Arc::new(Telegram::new(telegram, client))
            }
        })
    }

    fn agent(&self, name: &AgentName, config: &AgentConfig) -> Result<Arc<dyn Agent>, String> {
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
                Arc::new(OpenAi::new(config, self.client(&openai.base_url)).map_err(|reason| format!("agents.{name}: {reason}"))?)
            }
        })
    }
}

/// Whether an adapter of this kind can be here at all.
fn has_its_place(kind: &AdapterKind) -> bool {
    !matches!(kind, AdapterKind::Console) || std::io::IsTerminal::is_terminal(&std::io::stdin())
}

/// How an adapter is set, with whom its kind lets in.
fn settings(adapter: &AdapterConfig) -> AdapterSettings {
    let mut settings = adapter.settings.clone();
    match &adapter.kind {
        // Whoever holds the token is allowed; HTTP has seen it.
        AdapterKind::Web => settings.access.allow = vec!["*".into()],
        AdapterKind::Console => {
            let operator = format!("{}:local", settings.name);
            settings.access.allow.push(operator.clone());
            settings.access.admins.push(operator);
        }
        AdapterKind::Telegram { .. } => {}
    }
    settings
}

impl Parts {
    /// Leaves out whoever hears, says or works.
    pub(super) fn hear_and_say_nothing(&mut self) {
        self.adapters.clear();
        self.agents.clear();
        self.web = None;
    }
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
    fn read(&self, chat: ChatId, span: Span) -> BoxFuture<'static, Result<Vec<RoomLine>, String>> {
        let ledger = self.0.get().cloned();
        async move {
            let ledger = ledger.ok_or("the gateway is starting")?;
            match ledger.send(Inquire(Question::Room { chat, span })).await {
                Ok(Ok(Knowledge::Room(lines))) => Ok(lines),
                Ok(Ok(_)) => Err("the ledger answered something else".to_owned()),
                Ok(Err(fault)) => Err(fault.to_string()),
                Err(error) => Err(error.to_string()),
            }
        }
        .boxed()
    }
}
