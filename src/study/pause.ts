import { Condition } from '../base/condition.ts';

/** Whether a study begins anything new; what runs goes on to its end. */
export class Pause {
  readonly changed = new Condition();
  #isOn = false;

  get isOn(): boolean {
    return this.#isOn;
  }

  set(isOn: boolean): void {
    this.#isOn = isOn;
    this.changed.notify();
  }
}
