//! A service on a thread of its own: from its start to its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::cores::PinError;

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("cannot listen on {address}: {source}; choose another address")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot {what}: {source}; free resources of this machine and try again")]
    System { what: &'static str, source: io::Error },
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error("the thread of a service panicked; please report its message")]
    Panicked,
}

/// Clones stop the same service.
#[derive(Debug, Clone, Default)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Waits for the first stop.
    pub fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stopped = self.0.subscribe();
        async move {
            // An error means that nobody is left who could stop it.
            let _ = stopped.wait_for(|stop| *stop).await;
        }
    }
}

/// A thread that runs until it is stopped. Dropping it stops the thread and waits for its end.
#[derive(Debug)]
pub struct ServiceThread<T, E: From<ServiceError>> {
    stopper: Stopper,
    thread: Option<JoinHandle<Result<T, E>>>,
}

impl<T, E> ServiceThread<T, E>
where
    T: Send + 'static,
    E: From<ServiceError> + Send + 'static,
{
    /// Returns when `run` has called its second argument, or its error if it ends before.
    pub fn start(
        name: &str,
        run: impl FnOnce(&Stopper, &dyn Fn()) -> Result<T, E> + Send + 'static,
    ) -> Result<Self, E> {
        let stopper = Stopper::default();
        let stop = stopper.clone();
        let (ready, started) = mpsc::channel();
        let run = move || {
            run(&stop, &|| {
                let _ = ready.send(());
            })
        };
        let mut thread = Self { stopper, thread: Some(spawn(name, run)?) };
        match started.recv() {
            Ok(()) => Ok(thread),
            Err(_) => Err(thread.join().err().unwrap_or_else(|| ServiceError::Panicked.into())),
        }
    }
}

impl<T, E: From<ServiceError>> ServiceThread<T, E> {
    /// Waits for the thread.
    pub fn shutdown(mut self) -> Result<T, E> {
        self.join()
    }

    fn join(&mut self) -> Result<T, E> {
        self.stopper.stop();
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        ended.unwrap_or_else(|| Err(ServiceError::Panicked.into()))
    }
}

impl<T, E: From<ServiceError>> Drop for ServiceThread<T, E> {
    fn drop(&mut self) {
        // Only `shutdown` can return the result.
        let _ = self.join();
    }
}

/// A service that listens, on a thread of its own. Dropping it stops the service and waits for the
/// thread.
#[derive(Debug)]
pub struct ServiceHandle<T, E: From<ServiceError>> {
    pub addr: SocketAddr,
    thread: ServiceThread<T, E>,
}

impl<T, E> ServiceHandle<T, E>
where
    T: Send + 'static,
    E: From<ServiceError> + Send + 'static,
{
    /// As [`ServiceThread::start`]: `run` calls its last argument once it accepts.
    pub fn start(
        name: &str,
        listener: TcpListener,
        run: impl FnOnce(TcpListener, &Stopper, &dyn Fn()) -> Result<T, E> + Send + 'static,
    ) -> Result<Self, E> {
        let what = "read the listener's address";
        let addr = listener.local_addr().map_err(|source| ServiceError::System { what, source })?;
        let thread = ServiceThread::start(name, |stop, ready| run(listener, stop, ready))?;
        Ok(Self { addr, thread })
    }
}

impl<T, E: From<ServiceError>> ServiceHandle<T, E> {
    /// Waits for the thread. Answers still open after the grace are cut off.
    pub fn shutdown(self) -> Result<T, E> {
        self.thread.shutdown()
    }
}

pub fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ServiceError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map_err(|source| ServiceError::System { what: "start a thread", source })
}

/// On a runtime of this thread, with tasks that stay on it. At the end open tasks are dropped.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, ServiceError> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime =
        runtime.map_err(|source| ServiceError::System { what: "make a runtime", source })?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Started = Result<ServiceThread<u32, ServiceError>, ServiceError>;

    #[test]
    fn a_thread_runs_until_it_is_stopped_and_gives_its_result() {
        let started: Started = ServiceThread::start("test", |stop, ready| {
            block_on(async {
                ready();
                stop.stopped().await;
            })?;
            Ok(7)
        });
        assert_eq!(started.unwrap().shutdown().unwrap(), 7);
    }

    #[test]
    fn what_ends_before_it_is_ready_is_no_service() {
        let absent = PinError { core: 9, source: io::ErrorKind::InvalidInput.into() };
        let started: Started = ServiceThread::start("test", |_, _| Err(absent.into()));
        assert!(matches!(started, Err(ServiceError::Pin(PinError { core: 9, .. }))));
        let started: Started = ServiceThread::start("test", |_, _| Ok(7));
        assert!(matches!(started, Err(ServiceError::Panicked)));
    }
}
