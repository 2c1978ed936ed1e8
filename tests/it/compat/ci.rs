//! Onboarding by a job of a build server, as the documentation writes it.

use std::process::Stdio;

use super::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_registered_waited_for_and_reached_by_the_documented_commands() {
    let page = include_str!("../../../docs/replaces.md");
    let (_, rest) = page.split_once("<!-- ci -->\n```sh\n").unwrap();
    let (script, _) = rest.split_once("```\n").unwrap();
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    let manifest = "apiVersion: berth/v1\nkind: App\nmetadata: {name: web}\nspec:\n  image: shop/app:1\n  port: 5000\n  health: none\n";
    std::fs::write(folder.path().join("app.yaml"), manifest).unwrap();
    for nth in 0..2 {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-e", "-c", script]).stdin(Stdio::null()).current_dir(folder.path());
        shell.env("BERTH", format!("http://{}", stage.address));
        shell.envs([("TOKEN", "none"), ("APP", "web")]);
        let run = shell.output();
        let output = tokio::time::timeout(super::PATIENCE, run).await.unwrap().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{nth}: {said}{complaint}");
        let url = said.lines().last().unwrap();
        assert!(url.starts_with("http://127.0.0.1:190"), "{nth}: {said}{complaint}");
    }
    stage.end().await;
}
