// Numbers and texts as the package writes them, so that page, files and tables agree.

// Digits of a number above 0 and its power of ten; the shortest that read back, or so many.
function digitsOf(x, count) {
  const text = count === undefined ? x.toExponential() : x.toExponential(count - 1);
  const [digits, power] = text.split("e");
  return [digits.replace(".", ""), Number(power)];
}

function scientific(digits, power) {
  const rest = digits.length > 1 ? "." + digits.slice(1) : "";
  const size = String(Math.abs(power)).padStart(2, "0");
  return digits[0] + rest + "e" + (power < 0 ? "-" : "+") + size;
}

function positional(digits, power) {
  if (power < 0) return "0." + "0".repeat(-power - 1) + digits;
  const whole = digits.slice(0, power + 1).padEnd(power + 1, "0");
  const rest = digits.slice(power + 1);
  return rest ? whole + "." + rest : whole;
}

// Python's "{:.<count>g}".
function general(x, count) {
  if (x === 0) return "0";
  const [digits, power] = digitsOf(Math.abs(x), count);
  const short = digits.replace(/0+$/, "");
  const written = power < -4 || power >= count ? scientific : positional;
  return (x < 0 ? "-" : "") + written(short, power);
}

// Python's repr of a float, with a point before every exponent, which YAML 1.1 needs.
function floatText(x) {
  if (x === 0) return "0.0";
  const [digits, power] = digitsOf(Math.abs(x));
  const sign = x < 0 ? "-" : "";
  if (power < -4 || power >= 16) return sign + scientific(digits.padEnd(2, "0"), power);
  const text = positional(digits, power);
  return sign + (text.includes(".") ? text : text + ".0");
}

// 573.4K, 2.949M, 400B.
function quantity(x) {
  const rounded = Number(x.toPrecision(4));
  for (const [suffix, power] of [["T", 1e12], ["B", 1e9], ["M", 1e6], ["K", 1e3]]) {
    const size = Math.abs(rounded);
    if (power <= size && size < 1000 * power && size >= 1e4) {
      return general(rounded / power, 4) + suffix;
    }
  }
  return general(rounded, 4);
}

// The rounding of every number on the page, by kind; the package has the same function.
function shown(x, kind) {
  if (!Number.isFinite(x)) return "–";
  if (kind === "loss") return x.toFixed(4);
  if (kind === "difference") return signed(x, 4);
  if (kind === "percent") return (100 * x).toFixed(2) + "\u00a0%";
  if (kind === "change") return signed(100 * x, 2) + "\u00a0%";
  if (kind === "epochs") return x.toFixed(2);
  if (kind === "probability") {
    return x > 0.995 ? "above 0.99" : x < 0.005 ? "below 0.01" : x.toFixed(2);
  }
  if (kind === "share") {
    return (0 < x && x < 0.0005 ? "<0.1" : (100 * x).toFixed(1)) + "\u00a0%";
  }
  return quantity(x);
}

function signed(x, decimals) {
  const text = Math.abs(x).toFixed(decimals);
  const sign = Number(text) === 0 ? "" : x < 0 ? "−" : "+";
  return sign + text;
}

const UNSHOWN = /[\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

function escaped(character) {
  return "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0");
}

// A Map keeps the order of any names; objects here have fixed names.
function entriesOf(document) {
  return document instanceof Map ? [...document] : Object.entries(document);
}

// JSON as Python's json.dumps indents it; whole numbers are given as BigInt.
function jsonText(value, indent, depth = 0) {
  if (typeof value === "number") return floatText(value);
  if (typeof value === "bigint" || typeof value === "boolean") return String(value);
  if (value === null) return "null";
  if (typeof value === "string") return JSON.stringify(value).replace(UNSHOWN, escaped);
  const list = Array.isArray(value);
  const items = list
    ? value.map((item) => jsonText(item, indent, depth + 1))
    : entriesOf(value).map(
        ([key, item]) => jsonText(key) + ": " + jsonText(item, indent, depth + 1),
      );
  const [open, close] = list ? "[]" : "{}";
  if (items.length === 0) return open + close;
  if (!indent) return open + items.join(", ") + close;
  const before = "\n" + " ".repeat(indent * (depth + 1));
  return open + before + items.join("," + before) + "\n" + " ".repeat(indent * depth) + close;
}
