//! What /metrics tells: one snapshot of numbers, rendered as Prometheus text. Labels hold configured names and our own words
//! only, never foreign text.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

/// The numbers of one moment. Totals count from the start of the instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// The program's version.
    pub version: String,
    /// Since the start of the instance.
    pub uptime: Duration,
    /// Sessions in memory.
    pub sessions: u64,
    /// Turns that run now.
    pub turns_running: u64,
    /// Runs of agents that were cut and did not yield.
    pub runs_abandoned: u64,
    /// Messages that wait for their turn.
    pub messages_waiting: u64,
    /// Messages taken in, in total: by adapter.
    pub messages_accepted: BTreeMap<String, u64>,
    /// Messages not taken in, in total: by adapter.
    pub messages_refused: BTreeMap<String, u64>,
    /// Turns that ended, in total: by how (`answered`, `interrupted`, …).
    pub turns_ended: BTreeMap<String, u64>,
    /// Replies and notices in the outbox: by adapter and state (`due`, `failed`, …).
    pub outbox: BTreeMap<(String, String), u64>,
    /// Whether an adapter hears its platform.
    pub adapters_connected: BTreeMap<String, bool>,
    /// Restarts of parts, in total: by part.
    pub restarts: BTreeMap<String, u64>,
    /// Commits of the ledger, in total.
    pub ledger_commits: u64,
    /// Steps in these commits, in total.
    pub ledger_steps: u64,
    /// Commits that failed, in total.
    pub ledger_faults: u64,
    /// How long the last commit took.
    pub ledger_last_commit: Duration,
    /// Starts in a row that followed an unclean end, this one included.
    pub unclean_starts: u64,
    /// Whether a shutdown is under way.
    pub going_down: bool,
}

impl Figures {
    /// As Prometheus text. A recorder of its own serves each scrape, so that nothing is kept for what is gone.
    pub fn render(&self) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || self.record());
        recorder.handle().render()
    }

    fn record(&self) {
        let level = |name: &'static str, help: &'static str, value: f64| {
            describe_gauge!(name, help);
            gauge!(name).set(value);
        };
        let total = |name: &'static str, help: &'static str, value: u64| {
            describe_counter!(name, help);
            counter!(name).absolute(value);
        };
        describe_gauge!("switchboard_info", "Always 1; the version is a label.");
        gauge!("switchboard_info", "version" => self.version.clone()).set(1.0);
        level("switchboard_uptime_seconds", "Since the start of the instance.", self.uptime.as_secs_f64());
        level("switchboard_sessions", "Sessions in memory.", self.sessions as f64);
        level("switchboard_turns_running", "Turns that run now.", self.turns_running as f64);
        level("switchboard_runs_abandoned", "Runs of agents that were cut and did not yield.", self.runs_abandoned as f64);
        level("switchboard_messages_waiting", "Messages that wait for their turn.", self.messages_waiting as f64);
        level("switchboard_ledger_last_commit_seconds", "How long the last commit took.", self.ledger_last_commit.as_secs_f64());
        level("switchboard_unclean_starts", "Starts in a row that followed an unclean end.", self.unclean_starts as f64);
        level("switchboard_going_down", "1 while a shutdown is under way.", f64::from(u8::from(self.going_down)));
        total("switchboard_ledger_commits_total", "Commits of the ledger.", self.ledger_commits);
        total("switchboard_ledger_steps_total", "Steps in the ledger's commits.", self.ledger_steps);
        total("switchboard_ledger_faults_total", "Commits of the ledger that failed.", self.ledger_faults);
        self.record_labelled();
    }

    fn record_labelled(&self) {
        let totals = |name: &'static str, help: &'static str, label: &'static str, values: &BTreeMap<String, u64>| {
            describe_counter!(name, help);
            for (key, value) in values {
                counter!(name, label => key.clone()).absolute(*value);
            }
        };
        totals("switchboard_messages_accepted_total", "Messages taken in.", "adapter", &self.messages_accepted);
        totals("switchboard_messages_refused_total", "Messages not taken in.", "adapter", &self.messages_refused);
        totals("switchboard_turns_ended_total", "Turns that ended.", "end", &self.turns_ended);
        totals("switchboard_restarts_total", "Restarts of parts.", "part", &self.restarts);
        describe_gauge!("switchboard_outbox", "Replies and notices in the outbox.");
        for ((adapter, state), count) in &self.outbox {
            gauge!("switchboard_outbox", "adapter" => adapter.clone(), "state" => state.clone()).set(*count as f64);
        }
        describe_gauge!("switchboard_adapter_connected", "1 while an adapter hears its platform.");
        for (adapter, connected) in &self.adapters_connected {
            gauge!("switchboard_adapter_connected", "adapter" => adapter.clone()).set(f64::from(u8::from(*connected)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_holds_the_numbers_of_its_moment() {
        let figures = Figures {
            sessions: 3,
            turns_ended: [("answered".to_owned(), 7)].into(),
            outbox: [(("web".to_owned(), "due".to_owned()), 2)].into(),
            ..Figures::default()
        };
        let text = figures.render();
        for line in [
            "# HELP switchboard_sessions Sessions in memory.",
            "# TYPE switchboard_turns_ended_total counter",
            "switchboard_sessions 3",
            "switchboard_turns_ended_total{end=\"answered\"} 7",
            "switchboard_outbox{adapter=\"web\",state=\"due\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!Figures::default().render().contains("switchboard_outbox{"), "what is gone stays gone");
    }
}
