//! Slack, through slack-morphism. Only this room knows Block Kit.
