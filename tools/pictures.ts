import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { AnsiUp } from 'ansi_up';
import { chromium, type Browser } from 'playwright-core';
import { quote } from '../src/remote/quote.ts';
import { Terminal } from '../test/support/terminal.ts';

/** `npm run docs:pictures`: the pictures of the README, of a demo that is run for them (tmux, Chromium). */

const root = resolve(import.meta.dirname, '..');
/** Where it is for the pictures: a report shows how a service is started, and where is nobody's business. */
const installed = mkdtempSync(join(tmpdir(), 'optimizer-'));
const pictures = join(root, 'docs/pictures');

async function until(what: () => boolean, seconds: number): Promise<void> {
  for (let i = 0; i < seconds * 5; i++) {
    if (what()) return;
    await sleep(200);
  }
  throw new Error('waited in vain');
}

/** A screen as it is in the middle of the demo, and the directory of its run when it has ended. */
async function demo(): Promise<{ screen: string; run: string }> {
  const output = join(installed, 'result');
  using terminal = new Terminal(108, 30);
  terminal.type(
    `clear; node ${quote(join(installed, 'dist/cli/main.js'))} demo --output ${quote(output)}; echo "code $?"`,
  );
  await until(() => {
    const { screen } = terminal;
    const measuring = screen.match(/benchmark \d+\/\d+ requests/g) ?? [];
    return /\b([6-9]|1\d)\/\d+ +\d+ measured/.test(screen) && measuring.length >= 2;
  }, 120);
  const screen = terminal.coloured;
  await until(() => /code \d/.test(terminal.screen), 180);
  const [run = ''] = readdirSync(join(output, 'runs'));
  return { screen, run: join(output, 'runs', run) };
}

async function ofScreen(browser: Browser, screen: string): Promise<void> {
  const page = await browser.newPage({ deviceScaleFactor: 1.5 });
  const style =
    'display:inline-block;margin:0;padding:14px 18px;background:#16181d;color:#d8dae0;font:13px/1.35 "DejaVu Sans Mono",monospace';
  await page.setContent(
    `<body style="margin:0"><pre style="${style}">${new AnsiUp().ansi_to_html(screen)}</pre>`,
  );
  await page.locator('pre').screenshot({ path: join(pictures, 'terminal.png') });
}

async function ofReport(browser: Browser, run: string): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 1120, height: 1180 } });
  await page.goto(pathToFileURL(join(run, 'report.html')).href);
  await page.waitForSelector('body[data-drawn]');
  await page.screenshot({ path: join(pictures, 'report.png') });
}

execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
for (const part of ['dist', 'package.json'])
  cpSync(join(root, part), join(installed, part), { recursive: true });
symlinkSync(join(root, 'node_modules'), join(installed, 'node_modules'));
const { screen, run } = await demo();
mkdirSync(pictures, { recursive: true });
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
await ofScreen(browser, screen);
await ofReport(browser, run);
await browser.close();
rmSync(installed, { recursive: true });
