import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createRequire } from 'node:module';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { journalText } from '../../src/runs/journal-content.ts';
import { writeReport } from '../../src/run-report.ts';
import { madeUpJournal, type MadeUp } from '../support/journal.ts';

/** report.html in a real browser, as a file, without a network. */

const executablePath = '/usr/bin/chromium';
const enabled = process.env['OPTIMIZER_TEST_SSHD'] === '1' && existsSync(executablePath);
/** Pictures for whoever wants to look. */
const pictures = process.env['OPTIMIZER_TEST_PICTURES'];
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const cli = resolve(import.meta.dirname, '../../dist/cli/main.js');

interface Opened {
  readonly page: Page;
  /** What the browser complained about, and what it asked for that is not the file. */
  readonly complaints: string[];
  readonly readyMs: number;
}

describe.skipIf(!enabled)('report.html in a browser', () => {
  let browser: Browser;
  let simulated: string;
  let many: string;
  let hostile: string;

  async function reportOf(made: MadeUp): Promise<string> {
    const directory = mkdtempSync(join(tmpdir(), 'optimizer-report-'));
    const entries = madeUpJournal(made);
    writeFileSync(join(directory, 'journal.jsonl'), journalText(entries));
    for (const id of Array.from({ length: 12 }, (_, i) => i)) {
      mkdirSync(join(directory, 'trials', String(id)), { recursive: true });
      writeFileSync(join(directory, 'trials', String(id), 'service.log'), `${made.error ?? 'nothing'}\n`);
    }
    await writeReport(directory, entries);
    return join(directory, 'report.html');
  }

  async function open(
    file: string,
    options: { readonly dark?: boolean; readonly width?: number } = {},
  ): Promise<Opened> {
    const page = await browser.newPage({
      viewport: { width: options.width ?? 1280, height: 900 },
      colorScheme: options.dark === true ? 'dark' : 'light',
    });
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (message.type() !== 'log') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      if (request.url() !== pathToFileURL(file).href) complaints.push(`asked for ${request.url()}`);
    });
    const began = performance.now();
    await page.goto(pathToFileURL(file).href);
    await page.waitForSelector('body[data-ready]');
    const readyMs = performance.now() - began;
    await page.waitForSelector('body[data-drawn]');
    return { page, complaints, readyMs };
  }

  async function picture(page: Page, name: string): Promise<void> {
    if (pictures === undefined) return;
    mkdirSync(pictures, { recursive: true });
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  }

  /** By chart: its accessible name, and in how many colours it is painted. */
  const chartsOf = async (page: Page) =>
    page.$$eval('section.chart > div[role=img]', (places) =>
      places.map((place) => {
        const canvas = place.querySelector('canvas')!;
        const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
        const colours = new Set<number>();
        for (let i = 0; i < data.length; i += 4)
          if (data[i + 3]! > 200) colours.add((data[i]! << 16) | (data[i + 1]! << 8) | data[i + 2]!);
        return { id: place.id, name: place.getAttribute('aria-label') ?? '', colours: colours.size };
      }),
    );

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
    const output = mkdtempSync(join(tmpdir(), 'optimizer-report-'));
    execFileSync(process.execPath, [cli, '--simulate', '--output', output, '--quiet'], { stdio: 'ignore' });
    simulated = join(output, 'runs', 'sim-0', 'report.html');
    many = await reportOf({ trials: 5000, groups: 32 });
    const evil = `</script><img src=x onerror="document.title='broken'">`;
    hostile = await reportOf({ trials: 40, host: evil, error: `${evil}\u2028{{x}}<b>`, runId: 'made-up' });
  });
  afterAll(async () => browser.close());

  test.each(['light', 'dark'] as const)(
    'all charts of a study are painted, and it asks for nothing, %s',
    async (mode) => {
      const { page, complaints } = await open(simulated, { dark: mode === 'dark' });
      const charts = await chartsOf(page);
      expect(charts.map(({ id }) => id)).toEqual([
        ...['knee', 'convergence', 'ttft', 'tpot', 'pair', 'parallel', 'importance', 'response'],
        ...['load', 'finalists', 'timeline', 'failures'],
      ]);
      for (const { name, colours } of charts) {
        expect(name.length).toBeGreaterThan(20);
        expect(colours).toBeGreaterThan(5);
      }
      const paper = await page.evaluate('getComputedStyle(document.body).backgroundColor');
      expect(paper).toBe(mode === 'dark' ? 'rgb(18, 22, 28)' : 'rgb(255, 255, 255)');
      expect(complaints).toEqual([]);
      await picture(page, `study-${mode}`);
      await page.close();
    },
  );

  test('says the verdict on the first screen, and how to start it', async () => {
    const { page } = await open(simulated);
    expect(await page.textContent('h1')).toMatch(
      /^Trial \d+ is the best configuration within the SLOs: [\d.]+ tok\/s at CONCURRENCY \d+, [\d.]+ × the baseline \([\d.]+ to [\d.]+\)\.$/,
    );
    const top = await page.textContent('.verdict');
    for (const said of [
      'Measured again 3 times',
      'to spare',
      'accelerator-hours',
      'per accelerator',
      'master on sim',
    ])
      expect(top).toContain(said);
    const box = await page.locator('.verdict').boundingBox();
    expect(box!.y + box!.height).toBeLessThan(900);
    await page.close();
  });

  test('5,000 trials are a file of less than 5 MB that can be used at once', async () => {
    const { size } = statSync(many);
    const { page, complaints, readyMs } = await open(many);
    console.log(`5,000 trials: ${(size / 1e6).toFixed(2)} MB, ready after ${readyMs.toFixed(0)} ms`);
    expect(size).toBeLessThan(5e6);
    expect(await page.locator('tbody tr').count()).toBeGreaterThan(100);
    await page.click('text=/show \\d+ more/');
    expect(await page.locator('#trials tbody tr').count()).toBe(1100);
    expect(complaints).toEqual([]);
    await picture(page, 'many');
    await page.close();
  });

  test('choosing along an axis filters the table', async () => {
    const { page, complaints } = await open(simulated);
    const canvas = page.locator('#parallel canvas');
    await canvas.scrollIntoViewIfNeeded();
    const box = (await canvas.boundingBox())!;
    // The first axis stands 60 px from the left, between 70 and 24 px from above and below.
    const [x, top] = [box.x + 60, box.y + 70];
    await page.mouse.move(x, top + 10);
    await page.mouse.down();
    await page.mouse.move(x, top + 60, { steps: 6 });
    await page.mouse.up();
    await expect.poll(async () => page.textContent('#chosen')).toMatch(/^\d+ of \d+ chosen above$/);
    const [chosen, all] = (await page.textContent('#chosen'))!.match(/\d+/g)!.map(Number);
    expect(chosen).toBeGreaterThan(0);
    expect(chosen).toBeLessThan(all!);
    expect(await page.locator('#trials tbody tr').count()).toBe(chosen);
    expect(complaints).toEqual([]);
    await page.close();
  });

  test('the table is sorted by what is clicked, and a line opens to all of its trial', async () => {
    const { page } = await open(simulated);
    const speeds = async () =>
      (await page.locator('#trials tbody tr td:nth-child(4)').allTextContents())
        .filter((text) => text !== '–')
        .map(Number);
    await page.click('#trials th button:has-text("tokens/s")');
    const up = await speeds();
    expect(up).toEqual([...up].sort((a, b) => a - b));
    await page.click('#trials th button:has-text("tokens/s")');
    const down = await speeds();
    expect(down).toEqual([...down].sort((a, b) => b - a));
    await page.click('#trials tbody tr.infeasible td button');
    expect(await page.textContent('tr.details')).toMatch(/KV cache .*needed/);
    await page.close();
  });

  test('names and errors of others stay text', async () => {
    const { page, complaints } = await open(hostile);
    expect(await page.title()).toBe('optimizer: made-up');
    expect(await page.locator('img').count()).toBe(0);
    await page.click('#trials tbody tr.infeasible td button');
    expect(await page.textContent('tr.details')).toContain('</script><img src=x');
    expect(await page.textContent('dl')).toContain('</script><img src=x');
    const box = (await page.locator('#timeline canvas').boundingBox())!;
    await page.mouse.move(box.x + 200, box.y + 60);
    expect(await page.title()).toBe('optimizer: made-up');
    expect(complaints).toEqual([]);
    await page.close();
  });

  test.each([1280, 420])(
    'nothing serious for assistive tools to complain about, %i px wide',
    async (width) => {
      for (const dark of [false, true]) {
        const { page } = await open(simulated, { dark, width });
        await page.evaluate(axe);
        const found = await page.evaluate<{
          violations: { id: string; impact: string; nodes: { html: string }[] }[];
        }>('axe.run(document, { resultTypes: ["violations"] })');
        const serious = found.violations.filter(
          ({ impact }) => impact === 'serious' || impact === 'critical',
        );
        expect(serious.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)).toEqual([]);
        const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
        expect(overflow).toBeLessThanOrEqual(0);
        await page.close();
      }
    },
  );

  test('it prints: charts on light paper, no buttons', async () => {
    const { page } = await open(simulated, { dark: true });
    await page.emulateMedia({ media: 'print' });
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(255, 255, 255)');
    expect(await page.locator('button.copy').first().isVisible()).toBe(false);
    expect((await page.pdf({ format: 'A4' })).byteLength).toBeGreaterThan(20_000);
    await page.close();
  });

  const demoResult = process.env['OPTIMIZER_DEMO_RESULT'];
  test.skipIf(demoResult === undefined)(
    'of a demo on real hosts: with the failed attempt in it',
    async () => {
      const [run] = readdirSync(join(demoResult!, 'runs'));
      const { page, complaints } = await open(join(demoResult!, 'runs', run!, 'report.html'));
      const charts = await chartsOf(page);
      expect(charts.map(({ id }) => id)).toEqual(expect.arrayContaining(['knee', 'timeline', 'failures']));
      expect(charts.every(({ colours }) => colours > 5)).toBe(true);
      expect(complaints).toEqual([]);
      await picture(page, 'demo');
      await page.close();
    },
  );
});
