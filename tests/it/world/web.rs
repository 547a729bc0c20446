//! A small HTTP server of the application under test: pages by path, counted.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a path answers.
#[derive(Debug, Clone)]
pub(crate) enum Page {
    /// A status, headers beside the usual ones, and a body.
    Answer(u16, Vec<(String, String)>, String),
    /// Different bodies, one after the other; the last one stays.
    Series(Vec<String>),
    /// Server-sent events, one every this long, without end.
    Events(Duration),
    /// Nothing, ever.
    Silence,
}

impl Page {
    /// 200 and a body.
    pub(crate) fn ok(body: &str) -> Self {
        Page::Answer(200, Vec::new(), body.into())
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

#[derive(Debug, Default)]
struct Site {
    pages: HashMap<String, Page>,
    seen: Vec<Request>,
}

/// The server. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Web {
    address: SocketAddr,
    site: Arc<Mutex<Site>>,
    task: JoinHandle<()>,
}

impl Web {
    /// Listens on a free port.
    pub(crate) async fn start(pages: &[(&str, Page)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pages = pages.iter().map(|(path, page)| ((*path).to_owned(), page.clone())).collect();
        let site = Arc::new(Mutex::new(Site { pages, seen: Vec::new() }));
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn({
            let site = site.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, site.clone()));
                }
            }
        });
        Self { address, site, task }
    }

    /// `http://127.0.0.1:PORT` and a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.site.lock().unwrap().seen.clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, site: Arc<Mutex<Site>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let mut headers = HashMap::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.ok()?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let request = Request { line: line.trim_end().to_owned(), headers, body: String::from_utf8(body).unwrap() };
        let page = {
            let mut site = site.lock().unwrap();
            site.seen.push(request);
            let bare = path.split('?').next().unwrap_or_default();
            let found = site.pages.get(&path).or_else(|| site.pages.get(bare)).cloned();
            if let Some(Page::Series(bodies)) = site.pages.get_mut(bare)
                && bodies.len() > 1
            {
                bodies.remove(0);
            }
            found.unwrap_or(Page::Answer(404, Vec::new(), "not here".into()))
        };
        answer(&mut stream, page).await?;
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, page: Page) -> Option<()> {
    match page {
        Page::Silence => std::future::pending().await,
        Page::Events(every) => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            for i in 0u64.. {
                let event = format!("event: token\ndata: {{\"secret text\": {i}}}\n\n");
                stream.write_all(event.as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
                tokio::time::sleep(every).await;
            }
            None
        }
        Page::Series(mut bodies) => send(stream, 200, &[], &bodies.remove(0)).await,
        Page::Answer(status, headers, body) => send(stream, status, &headers, &body).await,
    }
}

async fn send(stream: &mut BufReader<TcpStream>, status: u16, headers: &[(String, String)], body: &str) -> Option<()> {
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}
