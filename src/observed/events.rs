//! Recent warning events of the cluster.

use serde::Deserialize;

use super::workloads::Workload;
use crate::base::error::Error;
use crate::base::object_ref::ObjectRef;
use crate::tools::Toolbox;
use crate::tools::api::segment;

/// A warning event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// The kind of the involved object.
    pub kind: String,
    /// The namespace of the involved object.
    pub namespace: String,
    /// The name of the involved object.
    pub name: String,
    /// The reason, such as `FailedScheduling` or `BackOff`.
    pub reason: String,
    pub message: String,
    /// How often it happened.
    pub count: u64,
    /// When it happened last, as RFC 3339.
    pub last: String,
}

impl Event {
    /// The object that the event is about.
    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef::new(&self.kind, &self.namespace, &self.name)
    }

    /// Whether the event is about this workload or one of its pods.
    pub(crate) fn is_about(&self, workload: &Workload) -> bool {
        workload.is_or_made(&self.kind, &self.namespace, &self.name)
    }
}

/// The last warning about a workload or one of its pods.
pub(crate) fn last_about<'a>(events: &'a [Event], workload: &Workload) -> Option<&'a Event> {
    latest(events.iter().filter(|event| event.is_about(workload)))
}

pub(crate) fn latest<'a>(events: impl Iterator<Item = &'a Event>) -> Option<&'a Event> {
    events.max_by(|one, other| one.last.cmp(&other.last))
}

/// The time of the latest event by the cluster's clock, as RFC 3339; empty if there is none.
pub(crate) fn newest(events: &[Event]) -> String {
    events.iter().map(|event| event.last.as_str()).max().unwrap_or_default().to_owned()
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Item {
    metadata: Metadata,
    involved_object: Involved,
    reason: Option<String>,
    message: Option<String>,
    count: Option<u64>,
    first_timestamp: Option<String>,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    series: Option<Series>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    creation_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Involved {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Series {
    count: Option<u64>,
    last_observed_time: Option<String>,
}

impl From<Item> for Event {
    fn from(item: Item) -> Self {
        let series = item.series.unwrap_or_default();
        let last = series
            .last_observed_time
            .or(item.last_timestamp)
            .or(item.event_time)
            .or(item.first_timestamp)
            .or(item.metadata.creation_timestamp);
        Self {
            kind: item.involved_object.kind.unwrap_or_default(),
            namespace: item.involved_object.namespace.unwrap_or_default(),
            name: item.involved_object.name.unwrap_or_default(),
            reason: item.reason.unwrap_or_default(),
            message: item.message.unwrap_or_default(),
            count: series.count.or(item.count).unwrap_or(1),
            last: last.unwrap_or_default(),
        }
    }
}

impl Toolbox {
    /// The warnings that the cluster still keeps, by default for an hour.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_warnings(&self) -> Result<Vec<Event>, Error> {
        self.warnings("/api/v1/events").await
    }

    /// The warnings about objects in a namespace.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_warnings_in(&self, namespace: &str) -> Result<Vec<Event>, Error> {
        self.warnings(&format!("/api/v1/namespaces/{}/events", segment(namespace))).await
    }

    async fn warnings(&self, list: &str) -> Result<Vec<Event>, Error> {
        let items: Vec<Item> = self.api_list(&format!("{list}?fieldSelector=type%3DWarning")).await?;
        Ok(items.into_iter().map(Event::from).collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tools::api::List;

    /// An event as the API server lists it.
    pub(crate) fn read(event: &serde_json::Value) -> Event {
        Item::deserialize(event).unwrap().into()
    }

    const LIST: &str = r#"{"items":[
            {"involvedObject":{"kind":"Pod","namespace":"kube-system","name":"cilium-a"},"reason":"BackOff","message":"new","count":7,"lastTimestamp":"2026-11-23T08:01:00Z"},
            {"involvedObject":{"kind":"Pod","namespace":"kube-system","name":"cilium-b"},"reason":"Failed","message":"old","lastTimestamp":null,"eventTime":"2026-11-23T08:00:00.000000Z"},
            {"involvedObject":{"kind":"Pod","namespace":"kube-system","name":"other-b"},"reason":"Failed","series":{"count":2,"lastObservedTime":"2026-11-23T09:00:00.000000Z"}},
            {}]}"#;

    fn workload(kind: &str, name: &str) -> Workload {
        Workload {
            kind: kind.to_owned(),
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            ..Workload::default()
        }
    }

    fn event(kind: &str, name: &str) -> Event {
        Event {
            kind: kind.to_owned(),
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            ..Event::default()
        }
    }

    #[test]
    fn recognizes_events_about_a_workload() {
        let cases = [
            ("DaemonSet", "cilium", "DaemonSet", "cilium", true),
            ("DaemonSet", "cilium", "Pod", "cilium-x2x4z", true),
            ("DaemonSet", "cilium", "Pod", "cilium-operator-6f5d4c-x2x4z", false),
            ("DaemonSet", "cilium", "Pod", "ciliumx-x2x4z", false),
            ("DaemonSet", "cilium", "Node", "cilium", false),
            ("Deployment", "cilium-operator", "Pod", "cilium-operator-6f5d4c-x2x4z", true),
            ("Deployment", "cilium-operator", "ReplicaSet", "cilium-operator-6f5d4c", true),
            ("Deployment", "cilium", "ReplicaSet", "cilium-operator-6f5d4c", false),
            ("Deployment", "cilium", "Pod", "cilium-operator-6f5d4c-x2x4z", false),
            ("StatefulSet", "db", "Pod", "db-0", true),
        ];
        for (kind, name, of, object, expected) in cases {
            let found = event(of, object).is_about(&workload(kind, name));
            assert_eq!(found, expected, "{kind} {name}: {of} {object}");
        }
        let elsewhere = Event { namespace: "media".to_owned(), ..event("Pod", "cilium-x2x4z") };
        assert!(!elsewhere.is_about(&workload("DaemonSet", "cilium")));
    }

    #[test]
    fn finds_latest_warning() {
        let parsed: List<Item> = serde_json::from_str(LIST).unwrap();
        let events: Vec<_> = parsed.items.into_iter().map(Event::from).collect();
        let newest = last_about(&events, &workload("DaemonSet", "cilium")).unwrap();
        assert_eq!((newest.reason.as_str(), newest.count), ("BackOff", 7));
        assert_eq!((events[2].count, events[3].count), (2, 1));
        assert_eq!(last_about(&events, &workload("DaemonSet", "none")), None);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(answer: Vec<u8>, odd in crate::base::mutate::json(LIST)) {
            let events = |list: List<Item>| list.items.into_iter().map(Event::from).collect::<Vec<_>>();
            _ = serde_json::from_slice(&answer).map(events);
            if let Ok(events) = serde_json::from_value(odd).map(events) {
                _ = last_about(&events, &workload("DaemonSet", "cilium"));
            }
        }
    }
}
