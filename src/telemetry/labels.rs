//! The label values of metrics: closed sets, so that no text from outside can add a time series.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($variant,)+ }

        impl $name {
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label!(
    /// Why a mirror was removed from disk.
    Removal {
        Unfollowed = "unfollowed",
        Budget = "budget",
    }
);
label!(
    /// How far a change came.
    Stage {
        Fetched = "fetched",
        Rendered = "rendered",
        Applied = "applied",
        Healthy = "healthy",
    }
);
label!(
    /// How we came to know of a change.
    Trigger {
        Push = "push",
        Poll = "poll",
        Application = "application",
        Manual = "manual",
    }
);
label!(
    /// What became of a webhook delivery.
    Delivery {
        Accepted = "accepted",
        Ping = "ping",
        Ignored = "ignored",
        Replayed = "replayed",
        Unauthorized = "unauthorized",
        Malformed = "malformed",
        TooLarge = "too_large",
        Unsupported = "unsupported",
        TimedOut = "timed_out",
        CutOff = "cut_off",
        Overloaded = "overloaded",
        Unknown = "unknown",
    }
);
label!(
    Task {
        Application = "application",
        Repository = "repository",
        Watch = "watch",
        Keeper = "keeper",
    }
);
label!(
    GitRequest {
        List = "list",
        Fetch = "fetch",
    }
);
label!(
    Tool {
        Directory = "directory",
        Kustomize = "kustomize",
        Helm = "helm",
    }
);
label!(
    RenderResult {
        Rendered = "rendered",
        Cached = "cached",
        Failed = "failed",
    }
);
label!(
    KubeVerb {
        Apply = "apply",
        DryRun = "dry_run",
        Delete = "delete",
        Get = "get",
        List = "list",
        Watch = "watch",
        Status = "status",
        Bundle = "bundle",
        Event = "event",
        Review = "review",
    }
);
label!(
    /// What a Git server or the Kubernetes API answered.
    Answer {
        Ok = "ok",
        Denied = "denied",
        NotFound = "not_found",
        Conflict = "conflict",
        Invalid = "invalid",
        Overloaded = "overloaded",
        TimedOut = "timed_out",
        Failed = "failed",
    }
);
label!(
    Outcome {
        Succeeded = "succeeded",
        Failed = "failed",
    }
);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PushLabels {
    pub(super) stage: Stage,
    pub(super) trigger: Trigger,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DeliveryLabels {
    pub(super) receiver: String,
    pub(super) result: Delivery,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TaskLabels {
    pub(super) task: Task,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GitLabels {
    pub(super) kind: GitRequest,
    pub(super) result: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GitSecondsLabels {
    pub(super) kind: GitRequest,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RenderLabels {
    pub(super) tool: Tool,
    pub(super) result: RenderResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RenderSecondsLabels {
    pub(super) tool: Tool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KubeLabels {
    pub(super) verb: KubeVerb,
    pub(super) result: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RemovalLabels {
    pub(super) reason: Removal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SyncLabels {
    pub(super) result: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct ApplicationLabels {
    pub(super) sync: String,
    pub(super) health: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
}
