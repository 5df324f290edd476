//! Spans as a subscriber sees them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Subscriber, subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// One span.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    id: Id,
    name: &'static str,
    /// The name of its parent.
    pub(crate) parent: Option<String>,
    pub(crate) fields: HashMap<String, String>,
    pub(crate) closed: bool,
}

/// The spans of this thread, from now on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<Seen>>>);

impl Captured {
    /// Until the guard is dropped.
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let captured = Self::default();
        let guard = subscriber::set_default(Registry::default().with(captured.clone()));
        (captured, guard)
    }

    /// Those of this name, in the order in which they began.
    pub(crate) fn all(&self, name: &str) -> Vec<Seen> {
        let seen = self.0.lock().unwrap();
        seen.iter().filter(|span| span.name == name).cloned().collect()
    }

    /// The only one of this name.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> Seen {
        let found = self.all(name);
        assert_eq!(found.len(), 1, "spans {name}: {found:?}");
        found[0].clone()
    }

    /// Fails if a span of the family has one of these in a field.
    #[track_caller]
    pub(crate) fn never_names(&self, secrets: &[&str]) {
        for span in self.0.lock().unwrap().iter() {
            let told = |text: &String| secrets.iter().any(|secret| text.contains(secret));
            assert!(!span.fields.values().any(told), "{span:?}");
        }
    }

    fn change(&self, id: &Id, change: impl FnOnce(&mut Seen)) {
        // The last: numbers are used again.
        change(self.0.lock().unwrap().iter_mut().rfind(|span| span.id == *id).unwrap());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Captured {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).unwrap().parent().map(|parent| parent.name().to_owned());
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let name = attributes.metadata().name();
        let span = Seen { id: id.clone(), name, parent, fields: fields.0, closed: false };
        self.0.lock().unwrap().push(span);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.change(id, |span| span.fields.extend(fields.0));
    }

    fn on_close(&self, id: Id, _context: Context<'_, S>) {
        self.change(&id, |span| span.closed = true);
    }
}

#[derive(Default)]
struct Fields(HashMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}
