// The closing line of .ci/run, from vitest's JSON reports: `N passed, N failed, N skipped`. A failed stage that no
// test accounts for is a failure as well.
import { readFileSync } from 'node:fs';

const [failedStages, ...files] = process.argv.slice(2);
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
}
if (total.failed === 0) total.failed = Number(failedStages);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && Number(failedStages) === 0 && total.passed > 0 ? 0 : 1;
