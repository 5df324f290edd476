//! What is cached: some 150 bytes of JSON, under keys as applications have them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) const TTL: Duration = Duration::from_secs(3600);
/// How long a call may take. A timer costs the same however long it is, and machines stand still.
pub(crate) const BUDGET: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Org {
    pub(crate) id: usize,
    name: String,
    plan: String,
    region: String,
    features: Vec<String>,
}

pub(crate) fn org(id: usize) -> Org {
    Org {
        id,
        name: format!("Organisation number {id}"),
        plan: "enterprise".to_owned(),
        region: "eu-west-1/prod".to_owned(),
        features: ["sso", "audit-log", "api"].map(str::to_owned).to_vec(),
    }
}

pub(crate) fn key(id: usize) -> String {
    format!("org:{id:08}")
}
