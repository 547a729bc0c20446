//! Pages out to PagerDuty, SMTP, ntfy and webhooks; acknowledgements in.
//!
//! Nothing is here yet: the room is named so that its neighbours know where the thing will live.
