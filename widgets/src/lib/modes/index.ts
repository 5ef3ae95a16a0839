/** Each mode's front end. */
import { Edit } from './edit';
import type { Desk, Mode, Task } from './mode';
import { Pair } from './pair';
import { Rank } from './rank';
import { Single } from './single';

const MODES = { pair: Pair, dialogue: Pair, single: Single, rank: Rank, edit: Edit };

export function begin(task: Task, desk: Desk): Mode {
  return new MODES[task.mode](task, desk);
}
