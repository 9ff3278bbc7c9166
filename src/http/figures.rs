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
    /// Messages accepted, in total.
    pub messages_accepted: u64,
    /// Replies delivered, in total.
    pub replies_delivered: u64,
    /// Whether an adapter hears its platform.
    pub adapters_connected: BTreeMap<String, bool>,
    /// Whether the ledger commits.
    pub ledger_up: bool,
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
        level("switchboard_ledger_up", "1 while the ledger commits.", f64::from(u8::from(self.ledger_up)));
        level("switchboard_unclean_starts", "Starts in a row that followed an unclean end.", self.unclean_starts as f64);
        level("switchboard_going_down", "1 while a shutdown is under way.", f64::from(u8::from(self.going_down)));
        total("switchboard_messages_accepted_total", "Messages accepted.", self.messages_accepted);
        total("switchboard_replies_delivered_total", "Replies delivered.", self.replies_delivered);
        self.record_labelled();
    }

    fn record_labelled(&self) {
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
        let figures =
            Figures { sessions: 3, messages_accepted: 7, adapters_connected: [("web".to_owned(), true)].into(), ..Figures::default() };
        let text = figures.render();
        for line in [
            "# HELP switchboard_sessions Sessions in memory.",
            "# TYPE switchboard_messages_accepted_total counter",
            "switchboard_sessions 3",
            "switchboard_messages_accepted_total 7",
            "switchboard_adapter_connected{adapter=\"web\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!Figures::default().render().contains("switchboard_adapter_connected{"), "what is gone stays gone");
    }
}
