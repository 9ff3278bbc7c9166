//! `[agents.NAME]`: who answers.

use std::collections::BTreeMap;
use std::time::Duration;

use switchboard_actors::ids::AgentName;

use super::Surroundings;
use super::adapters::named;
use super::fault::Fault;
use super::fields::Fields;
use super::layers::Merged;
use super::secret::Secret;

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentConfig {
    /// Answers without a model, slowly: to see the gateway work.
    Demo,
    /// An endpoint that speaks OpenAI's chat completions.
    OpenAi(Box<OpenAi>),
}

/// An endpoint that speaks OpenAI's chat completions.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAi {
    /// Its address, up to and without `/chat/completions`.
    pub base_url: String,
    /// The model.
    pub model: String,
    /// The key, where it wants one.
    pub api_key: Option<Secret>,
    /// The system prompt.
    pub system: Option<String>,
    /// To reach it.
    pub connect_limit: Duration,
    /// Without a byte from it.
    pub byte_limit: Duration,
    /// Tries on 429, 5xx and lost connections.
    pub tries: u32,
    /// A longer answer is an error.
    pub max_answer_bytes: u32,
}

/// Reads every agent.
pub(super) fn read(merged: &Merged, around: &Surroundings, faults: &mut Vec<Fault>) -> BTreeMap<AgentName, AgentConfig> {
    let mut agents = BTreeMap::new();
    for (name, value) in merged.section("agents").into_iter().flatten() {
        let path = format!("agents.{name}");
        named(&path, name, merged, faults);
        let Some(mut fields) = Fields::open(merged, faults, &path, value) else { continue };
        let agent = match fields.required("kind", "Write kind = \"demo\" or \"openai\"").as_deref() {
            Some("demo") => Some(AgentConfig::Demo),
            Some("openai") => openai(&mut fields, around),
            Some(other) => fields.fault("kind", format!("{other:?} is not a kind of agent"), "Write demo or openai"),
            None => None,
        };
        match agent {
            Some(agent) => {
                fields.finish();
                agents.insert(AgentName::new(name), agent);
            }
            None => fields.finish_if_kind_known(&["demo", "openai"]),
        }
    }
    agents
}

fn openai(fields: &mut Fields<'_>, around: &Surroundings) -> Option<AgentConfig> {
    fields.start_from("openai");
    let base_url = fields.address("base_url", "Write for example \"http://127.0.0.1:8080/v1\"");
    let model = fields.required("model", "Name the model as the endpoint calls it");
    let api_key = fields.secret("api_key", true, around);
    let system = fields.text("system");
    let connect_limit = fields.span("connect_limit");
    let byte_limit = fields.span("byte_limit");
    let tries = fields.count("tries");
    let max_answer_bytes = fields.count("max_answer_bytes");
    Some(AgentConfig::OpenAi(Box::new(OpenAi {
        base_url: base_url?,
        model: model?,
        api_key,
        system,
        connect_limit: connect_limit?,
        byte_limit: byte_limit?,
        tries: tries?,
        max_answer_bytes: max_answer_bytes?,
    })))
}
