//! The provider that people log in by, from the settings and the files that they name.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::config::Settings;
use crate::oidc::Provider;

/// Bytes of a secret or of authorities.
const LARGEST: u64 = 1 << 20;

/// None where people log in with tokens of the cluster only.
pub(super) fn provider(settings: &Settings) -> Result<Option<Provider>> {
    let Some(oidc) = &settings.oidc else {
        return Ok(None);
    };
    let secret = match &oidc.client_secret_file {
        None => None,
        Some(path) => {
            let text = String::from_utf8(read(path, "oidc.clientSecretFile")?)
                .ok()
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty());
            Some(text.with_context(|| format!("{} holds no secret", path.display()))?)
        }
    };
    let ca_pem = match &oidc.ca_file {
        None => None,
        Some(path) => Some(read(path, "oidc.caFile")?),
    };
    let provider = Provider::new(oidc.clone(), secret, ca_pem.as_deref());
    let provider = provider
        .map_err(anyhow::Error::msg)
        .context("oidc.caFile")?;
    Ok(Some(provider))
}

fn read(path: &Path, setting: &str) -> Result<Vec<u8>> {
    let reading = || format!("{setting}: could not read {}", path.display());
    let size = std::fs::metadata(path).with_context(reading)?.len();
    if size > LARGEST {
        bail!(
            "{setting}: {} is larger than {LARGEST} bytes",
            path.display()
        );
    }
    std::fs::read(path).with_context(reading)
}

/// The name of the host that the provider sends people back to.
pub(super) fn host(settings: &Settings) -> Option<String> {
    let url: http::Uri = settings.oidc.as_ref()?.redirect_url.parse().ok()?;
    url.host().map(str::to_owned)
}
