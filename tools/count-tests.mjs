// The end of .ci/run, from vitest's JSON reports: each test that failed with why, the stages that did, and the closing
// line `N passed, N failed, N skipped`. A failed stage that no test accounts for is a failure as well.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const [stages, ...files] = process.argv.slice(2);
const failedStages = stages.split(' ').filter(Boolean);
const total = { passed: 0, failed: 0, skipped: 0 };
for (const file of files) {
  let report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    continue; // its stage has failed and is counted
  }
  total.passed += report.numPassedTests;
  total.failed += report.numFailedTests;
  total.skipped += report.numPendingTests + report.numTodoTests;
  for (const suite of report.testResults) {
    const path = relative(process.cwd(), suite.name);
    const tests = suite.assertionResults.filter((test) => test.status === 'failed');
    // One that could not even be loaded has no tests.
    if (tests.length === 0 && suite.status === 'failed') tell(path, suite.message);
    for (const test of tests) tell(`${path} > ${test.fullName}`, test.failureMessages.join('\n'));
  }
}
for (const stage of failedStages) console.log(`stage ${stage} FAILED`);
if (total.failed === 0) total.failed = failedStages.length;
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && failedStages.length === 0 && total.passed > 0 ? 0 : 1;

function tell(where, why) {
  console.log(`FAILED ${where}\n${why.slice(0, 2000).replaceAll(/^/gm, '  ')}`);
}
