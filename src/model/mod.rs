//! The words every room shares: ids, people, places, levels and cards.
//!
//! Nothing here decides or does anything. A type belongs in this room when
//! two rooms that may not import each other both need to say it.

mod actor;
mod card;
mod ids;
mod level;
mod place;
mod problem;
mod service;
mod units;

pub use actor::{Actor, Badge, Badges, Identity, Platform};
pub use card::{
    Action, ActionStyle, Align, Bar, Block, CARD_VERSION, Card, Cell, Column, Field, Finding, Progress, Span, Table,
    Text, Tick,
};
pub use ids::{InstanceName, InvalidName, PersonId, RunId, ServiceName};
pub use level::{Level, Severity};
pub use place::{MessageRef, Place, PlaceKind};
pub use problem::{Problem, line_of};
pub use service::{
    Address, Contact, Credential, Deployment, Direction, Endpoint, Environment, HeaderValue, HttpMethod, Instance,
    KeyPattern, Link, LogFrom, LogSource, MetricsSource, Queue, SecretRef, Service, Threshold, Tls,
};
pub(crate) use units::three_digits;
pub use units::{parse_bytes, parse_duration, show_duration, shown_bytes, shown_number, shown_percent};
