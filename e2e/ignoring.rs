//! Differences that are left alone, in the comparison and in what is applied.

use serde_json::{Value, json};

use crate::given::{config_map, story};

fn two_keys(value: &str, other: &str) -> String {
    format!(
        "{}  other: \"{other}\"\n",
        config_map("map", value).replace(
            &format!("data: {{value: \"{value}\"}}\n"),
            &format!("data:\n  value: \"{value}\"\n"),
        )
    )
}

#[test]
fn what_a_pointer_ignores_stays_as_others_set_it() {
    let rule = json!({"kind": "ConfigMap", "jsonPointers": ["/data/value"]});
    what_is_ignored_stays("ignoring", rule);
}

#[test]
fn what_a_jq_expression_ignores_stays_as_others_set_it() {
    let expression = ".data | select(.other) | .value";
    let rule = json!({"kind": "ConfigMap", "name": "m*", "jqPathExpressions": [expression]});
    what_is_ignored_stays("ignoring-jq", rule);
}

fn what_is_ignored_stays(name: &str, rule: Value) {
    story(|lab| async move {
        let app = lab.given(name).await?;
        let mut application = app.application();
        application["spec"]["ignoreDifferences"] = json!([rule]);
        let first = app.commit(&[("map.yaml", Some(&two_keys("git", "1")))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        // Created as Git says, then left to whoever changes it.
        app.value("map", Some("git")).await?;
        let edit = json!({"data": {"value": "hand"}});
        app.cluster.patch(&app.map("map"), &edit).await?;
        // What is not ignored is repaired, so the other change was seen by then.
        app.cluster
            .patch(&app.map("map"), &json!({"data": {"other": "hand"}}))
            .await?;
        app.becomes("repaired", |status| status["sync"]["status"] == "Synced")
            .await?;
        crate::lab::eventually("the other key is repaired", crate::given::SOON, || async {
            let live = app.cluster.get(&app.map("map")).await?;
            Ok(match live["data"]["other"].as_str() {
                Some("1") => crate::lab::Expectation::Met(()),
                other => crate::lab::Expectation::Pending(format!("{other:?}")),
            })
        })
        .await?;
        app.value("map", Some("hand")).await?;
        // A commit changes what is not ignored, and only that.
        let second = app
            .push(&lab.agent, &[("map.yaml", Some(&two_keys("newer", "2")))])
            .await?;
        app.synced(&second).await?;
        let live = app.cluster.get(&app.map("map")).await?;
        assert_eq!(live["data"], json!({"value": "hand", "other": "2"}));
        let status = app.status().await?;
        assert_eq!(status["conditions"], Value::Null);
        Ok(())
    });
}

#[test]
fn what_a_named_manager_owns_is_its_own() {
    story(|lab| async move {
        let app = lab.given("manager").await?;
        let mut application = app.application();
        application["spec"]["ignoreDifferences"] =
            json!([{"kind": "*", "managedFieldsManagers": ["scaler"]}]);
        let first = app.commit(&[("map.yaml", Some(&two_keys("git", "1")))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"},
            "data": {"value": "theirs"}});
        app.cluster
            .apply(&app.map("map"), "scaler", &theirs)
            .await?;
        let second = app
            .push(&lab.agent, &[("map.yaml", Some(&two_keys("newer", "2")))])
            .await?;
        app.synced(&second).await?;
        let live = app.cluster.get(&app.map("map")).await?;
        assert_eq!(live["data"], json!({"value": "theirs", "other": "2"}));
        Ok(())
    });
}

#[test]
fn a_rule_that_makes_no_sense_is_said() {
    story(|lab| async move {
        let app = lab.given("senseless").await?;
        let mut application = app.application();
        application["spec"]["ignoreDifferences"] =
            json!([{"kind": "ConfigMap", "jsonPointers": ["x"]}]);
        app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&application).await?;
        app.condition("ComparisonError", "no JSON pointer").await?;
        assert_eq!(app.cluster.find(&app.map("map")).await?, None);
        Ok(())
    });
}

#[test]
fn what_is_ignored_stays_also_of_an_object_that_is_taken_over() {
    story(|lab| async move {
        let app = lab.given("ignoring-taken").await?;
        let mut application = app.application();
        application["spec"]["ignoreDifferences"] =
            json!([{"kind": "ConfigMap", "jsonPointers": ["/data/value"]}]);
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"},
            "data": {"value": "theirs", "other": "theirs"}});
        let path = app.map("map");
        app.cluster.apply(&path, "scaler", &theirs).await?;
        let first = app.commit(&[("map.yaml", Some(&two_keys("git", "1")))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let live = app.cluster.get(&path).await?;
        assert_eq!(live["data"], json!({"value": "theirs", "other": "1"}));
        Ok(())
    });
}
