//! Mail, against a server that speaks as much SMTP as is needed.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use berth::notice::{Board, Outcome};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use super::run::{board, targets};

/// What was said to the server in one connection.
async fn converse(stream: TcpStream, end: &str) -> Vec<String> {
    let mut stream = BufReader::new(stream);
    let mut said = Vec::new();
    let _ = stream.get_mut().write_all(b"220 mail.test ESMTP\r\n").await;
    let mut is_data = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return said;
        }
        let line = line.trim_end().to_owned();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        let answer = match (is_data, verb.as_str()) {
            (true, ".") => {
                is_data = false;
                end
            }
            (true, _) => {
                said.push(line);
                continue;
            }
            (false, "EHLO") => "250-mail.test\r\n250 AUTH PLAIN LOGIN",
            (false, "AUTH") => "235 welcome",
            (false, "DATA") => {
                is_data = true;
                "354 go on"
            }
            (false, "QUIT") => "221 bye",
            (false, _) => "250 ok",
        };
        said.push(line);
        let _ = stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await;
    }
}

/// A server that ends each message so; what it was told, and its port.
async fn server(end: &'static str) -> (UnboundedReceiver<Vec<String>>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = tell.send(converse(stream, end).await);
        }
    });
    (told, port)
}

fn mail(port: u16, tls: &str) -> Arc<Board> {
    board(targets(&format!(
        "{{\"targets\": [{{\"name\": \"mail\", \"secret\": \"key\", \"smtp\": {{\"server\": \"127.0.0.1:{port}\", \
         \"tls\": \"{tls}\", \"user\": \"berth\", \"from\": \"berth@example.com\", \
         \"to\": [\"a@example.com\", \"b@example.com\"]}}}}]}}"
    )))
}

#[tokio::test]
async fn mail_is_sent_to_all_with_the_password() {
    let (mut told, port) = server("250 kept").await;
    let board = mail(port, "none");
    assert_eq!(board.test(&board.posts[0]).await, Outcome::Taken);
    let said = told.recv().await.unwrap();
    let has = |begin: &str| said.iter().any(|line| line.starts_with(begin));
    let login = STANDARD.encode("\0berth\0hush-hush");
    for begin in [
        format!("AUTH PLAIN {login}").as_str(),
        "MAIL FROM:<berth@example.com>",
        "RCPT TO:<a@example.com>",
        "RCPT TO:<b@example.com>",
        "Subject: A test from Berth (lab)",
        "Message-ID: <test-",
        "The target `mail` is told so",
    ] {
        assert!(has(begin), "{begin}: {said:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (_told, port) = server("451 try later").await;
    let board_busy = mail(port, "none");
    let outcome = board_busy.test(&board_busy.posts[0]).await;
    assert!(matches!(&outcome, Outcome::Later(why) if why.contains("later")), "{outcome:?}");
    let (_told, port) = server("554 no spam").await;
    let board_no = mail(port, "none");
    let outcome = board_no.test(&board_no.posts[0]).await;
    assert!(matches!(&outcome, Outcome::Refused(why) if why.contains("spam")), "{outcome:?}");
}

/// A server that can't protect the connection is told nothing, least of all the password.
#[tokio::test]
async fn nothing_is_said_in_the_open() {
    let (mut told, port) = server("250 kept").await;
    let board = mail(port, "starttls");
    let outcome = board.test(&board.posts[0]).await;
    assert!(matches!(outcome, Outcome::Later(_) | Outcome::Refused(_)), "{outcome:?}");
    let said = told.recv().await.unwrap();
    assert!(
        said.iter().all(|line| !line.starts_with("AUTH") && !line.starts_with("MAIL")),
        "{said:?}"
    );
}
