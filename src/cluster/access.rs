//! Who somebody is and what they may do, as the API server says: TokenReview and
//! SubjectAccessReview.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, api::PostParams};

use super::{Cluster, Error};
use crate::telemetry::KubeVerb;

/// A user as the API server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

/// One thing that somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Access {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// The plural, such as `applications`.
    pub(crate) resource: String,
    pub(crate) subresource: String,
    /// Empty for what has none.
    pub(crate) namespace: String,
    /// Empty for all.
    pub(crate) name: String,
}

impl Cluster {
    /// Whose token this is, or none when the API server does not take it for this audience.
    pub(crate) async fn review_token(
        &self,
        token: &str,
        audience: &str,
    ) -> Result<Option<User>, Error> {
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![audience.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let params = PostParams::default();
        let sent = api.create(&params, &review);
        let doing = "review a token".to_owned();
        let review = self.counted(KubeVerb::Review, doing, false, sent).await?;
        let status = review.status.unwrap_or_default();
        // An authenticator that knows nothing of audiences answers without any: not for us.
        let meant = status.audiences.unwrap_or_default();
        if status.authenticated != Some(true) || !meant.iter().any(|it| it == audience) {
            return Ok(None);
        }
        let user = status.user.unwrap_or_default();
        Ok(Some(User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        }))
    }

    /// Whether somebody may do something, by the cluster's own rules.
    pub(crate) async fn may(&self, user: &User, access: &Access) -> Result<bool, Error> {
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: given(&user.uid),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: given(&access.verb),
                    group: Some(access.group.clone()),
                    resource: given(&access.resource),
                    subresource: given(&access.subresource),
                    namespace: given(&access.namespace),
                    name: given(&access.name),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let params = PostParams::default();
        let sent = api.create(&params, &review);
        let doing = format!("ask what {} may do", user.name);
        let review = self.counted(KubeVerb::Review, doing, false, sent).await?;
        Ok(review.status.is_some_and(|status| status.allowed))
    }
}
