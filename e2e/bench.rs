use anyhow::Result;
pub(crate) async fn run(_: &[&str]) -> Result<()> {
    anyhow::bail!("x")
}
