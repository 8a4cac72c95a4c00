// The explorer: sliders of a mixture and a budget, and what the law predicts for them.

// Set one share; the unlocked others keep their ratios and fill the rest.
function rescaled(mixture, locked, moved, wanted) {
  const free = mixture.map((_, i) => i !== moved && !locked[i]);
  const held = mixture.reduce((sum, s, i) => sum + (i !== moved && locked[i] ? s : 0), 0);
  const others = mixture.reduce((sum, s, i) => sum + (free[i] ? s : 0), 0);
  const count = free.filter(Boolean).length;
  const room = Math.max(0, 1 - held);
  const share = count ? Math.min(Math.max(wanted, 0), room) : room;
  const left = room - share;
  return mixture.map((s, i) => {
    if (i === moved) return share;
    if (!free[i]) return s;
    return others > 0 ? (s * left) / others : left / count;
  });
}

const [QUICK, REST] = [20, 120];

function explorer(root, data) {
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const all = (name) => [...root.querySelectorAll(`[data-part="${name}"]`)];
  const [sliders, numbers, locks, epochs] = ["slider", "number", "lock", "epochs"].map(all);
  const budgetSlider = find("budget");
  const state = { mixture: [...data.mixture], budget: data.budget };
  let [waiting, settling, slow] = [false, 0, 0];

  function write() {
    waiting = false;
    const { mixture, budget } = state;
    const now = lossesBy(data.fit, data.fit.values, 0, mixture, budget);
    const best = lossesBy(data.fit, data.fit.values, 0, data.mixture, budget);
    const beside = lossesBy(data.fit, data.fit.values, 0, data.reference, budget);
    writeMixture(mixture, budget);
    writeLosses(now, best, beside);
    const objective = objectiveOf(data, now);
    const above = objective / objectiveOf(data, best) - 1;
    const gain = 1 - objective / objectiveOf(data, beside);
    find("objective").textContent = shown(objective, "loss");
    find("gain").textContent = shown(gain, "change");
    find("above").textContent = shown(above, "change");
    find("moved").textContent = shown(distance(mixture, data.mixture), "share");
    const texts = warningsOf(data, mixture, budget);
    find("warning").hidden = texts.length === 0;
    find("reasons").replaceChildren(...texts.map((text) => element("li", text)));
    find("copied").hidden = true;
    // Intervals ask every resample: where that takes long, they wait until the slider rests.
    clearTimeout(settling);
    if (slow < QUICK) settle();
    else settling = setTimeout(settle, REST);
  }

  function settle() {
    const start = performance.now();
    const { mixture, budget } = state;
    const { low, high } = predict(data, mixture, budget);
    all("row").forEach((row, i) => {
      const range = `${shown(low[i], "loss")} to ${shown(high[i], "loss")}`;
      row.querySelector('[data-cell="range"]').textContent = Number.isFinite(low[i]) ? range : "–";
    });
    if (find("probability")) {
      const at = budget === data.budget && distance(mixture, data.mixture) > 1e-9;
      find("probability").textContent = shown(at ? probability(data, mixture) : NaN, "probability");
    }
    slow = performance.now() - start;
  }

  function writeMixture(mixture, budget) {
    const recipe = data.recipe && recipeOf(data, mixture, budget);
    mixture.forEach((share, i) => {
      sliders[i].value = share;
      sliders[i].setAttribute("aria-valuetext", shown(share, "share"));
      if (document.activeElement !== numbers[i]) numbers[i].value = (100 * share).toFixed(1);
      if (epochs[i] && recipe?.epochs) {
        epochs[i].textContent = shown(recipe.epochs[i] ?? NaN, "epochs");
      }
    });
    const text = `${shown(budget, "quantity")} ${data.unit}`;
    find("budget-text").textContent = text;
    budgetSlider?.setAttribute("aria-valuetext", text);
  }

  function writeLosses(now, best, beside) {
    all("row").forEach((row, i) => {
      const cell = (name) => row.querySelector(`[data-cell="${name}"]`);
      const change = now[i] / best[i] - 1;
      cell("loss").textContent = shown(now[i], "loss");
      cell("reference").textContent = shown(now[i] / beside[i] - 1, "change");
      cell("best").textContent = shown(change, "change");
      row.classList.toggle("worse", change > 5e-5);
      row.classList.toggle("better", change < -5e-5);
    });
  }

  function later() {
    if (!waiting) requestAnimationFrame(write);
    waiting = true;
  }

  function set(mixture, budget) {
    Object.assign(state, { mixture, budget });
    later();
  }

  function move(i, wanted) {
    if (!Number.isFinite(wanted)) return;
    const locked = locks.map((lock) => lock.checked);
    set(rescaled(state.mixture, locked, i, wanted), state.budget);
  }

  sliders.forEach((slider, i) => {
    slider.addEventListener("input", () => move(i, Number(slider.value)));
  });
  numbers.forEach((number, i) => {
    number.addEventListener("input", () => move(i, Number(number.value) / 100));
    number.addEventListener("change", later);
    number.addEventListener("blur", later);
  });
  budgetSlider?.addEventListener("input", () => {
    set(state.mixture, Math.exp(Number(budgetSlider.value)));
  });
  for (const button of all("start")) {
    const mixture = data.starts[Number(button.dataset.number)];
    button.addEventListener("click", () => set([...mixture], state.budget));
  }
  for (const button of all("form")) {
    button.addEventListener("click", () => {
      const form = FORMS[button.dataset.form];
      copy(find("text"), find("copied"), form(recipeOf(data, state.mixture, state.budget)));
    });
  }
  root.hidden = false;
  write();
  return { state, set, move };
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// Browsers may refuse the clipboard; the text is shown, marked, in any case.
async function copy(area, status, text) {
  area.value = text;
  area.hidden = false;
  area.select();
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    done = document.execCommand("copy");
  }
  status.textContent = done ? "Copied." : "Marked; copy it with the keyboard.";
  status.hidden = false;
}

const place = document.getElementById("explorer");
if (place) {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  data.fit.values = decoded(data.fit.values);
  data.fit.resamples = decoded(data.fit.resamples);
  const control = explorer(place, data);
  // For those who want to compute more at the browser's console.
  const more = { predict, probability, warningsOf, nearestBlend, recipeOf, FORMS, shown };
  window.bimix = { data, control, ...more };
}
