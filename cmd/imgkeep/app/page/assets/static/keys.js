// Keys for moderators, and a count of what is selected. Everything works without it.
'use strict';
const all = s => Array.from(document.querySelectorAll(s));
const tiles = all('[data-keys] .tile');
const boxOf = tile => tile.querySelector('input[type=checkbox]');
const counter = document.querySelector('[data-count]');
const empty = counter ? counter.textContent : '';

function count() {
  if (!counter) return;
  const n = all('.tile input[type=checkbox]:checked').length;
  counter.textContent = n ? n + ' selected.' : empty;
  counter.closest('.action').classList.toggle('some', n > 0);
  for (const t of tiles) t.classList.toggle('picked', !!(boxOf(t) && boxOf(t).checked));
}

function current() {
  return tiles.findIndex(t => t.contains(document.activeElement));
}

function move(step) {
  if (!tiles.length) return;
  const at = current();
  const to = at < 0 ? (step > 0 ? 0 : tiles.length - 1) : Math.min(Math.max(at + step, 0), tiles.length - 1);
  const target = tiles[to].querySelector('a, input');
  if (target) {
    target.focus();
    tiles[to].scrollIntoView({block: 'nearest'});
  }
}

document.addEventListener('change', count);
document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing) return;
  const t = e.target;
  if (t.matches('input:not([type=checkbox]):not([type=radio]), textarea, select')) return;
  switch (e.key) {
  case 'j': move(1); break;
  case 'k': move(-1); break;
  case 'x': {
    const at = current();
    const box = at < 0 ? null : boxOf(tiles[at]);
    if (!box) return;
    box.checked = !box.checked;
    count();
    break;
  }
  case 'b': {
    const button = document.querySelector('[data-block]');
    if (!button || tiles.length && !all('.tile input[type=checkbox]:checked').length) return;
    button.click();
    break;
  }
  case '/': document.getElementById('q').focus(); break;
  default: return;
  }
  e.preventDefault();
});
count();
