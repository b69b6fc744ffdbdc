/** What a person may press while the live view is there. */
export interface Keys {
  readonly onPause: () => void;
  readonly onStop: () => void;
  readonly onLog: () => void;
  readonly onHelp: () => void;
}

const interrupt = '\u0003';
const suspend = '\u001A';

/**
 * Listens to single keys of a terminal. Without its line mode the terminal sends no signals: Ctrl-C and Ctrl-Z are made
 * here. Dispose to give the terminal back.
 */
export function listenToKeys(stdin: NodeJS.ReadStream, keys: Keys): Disposable {
  if (!stdin.isTTY) return { [Symbol.dispose]: () => undefined };
  const onData = (data: Buffer): void => {
    for (const key of data.toString()) {
      if (key === interrupt) process.kill(process.pid, 'SIGINT');
      else if (key === suspend) {
        stdin.setRawMode(false);
        process.kill(process.pid, 'SIGTSTP');
      } else if (key === 'p') keys.onPause();
      else if (key === 'q') keys.onStop();
      else if (key === 'l') keys.onLog();
      else if (key === '?' || key === 'h') keys.onHelp();
    }
  };
  const onContinue = (): void => {
    stdin.setRawMode(true);
  };
  stdin.setRawMode(true);
  stdin.resume();
  stdin.on('data', onData);
  process.on('SIGCONT', onContinue);
  return {
    [Symbol.dispose]() {
      process.off('SIGCONT', onContinue);
      stdin.off('data', onData);
      stdin.setRawMode(false);
      // Nothing waits for it any more.
      stdin.pause();
    },
  };
}
