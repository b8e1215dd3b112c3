/** Numbers and times as they are shown. */

const MINUS = "\u2212";

/** A number of so many significant digits, without an exponent where it can be read without. */
export function number(value: number, digits = 3): string {
  if (Number.isNaN(value)) return "unknown";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : MINUS + "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let shown: string;
  if (size >= 1e-4 && size < 10 ** Math.max(digits, 6)) {
    const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    shown = grouped(size.toFixed(Math.min(places, 20)));
  } else {
    shown = size.toExponential(digits - 1).replace("e+", "e");
  }
  return (value < 0 ? MINUS : "") + shown;
}

/** With its sign in any case. */
export function signed(value: number, digits = 3): string {
  return value > 0 ? "+" + number(value, digits) : number(value, digits);
}

function grouped(digits: string): string {
  const [whole, fraction] = digits.split(".");
  const parts = whole!.length > 4 ? whole!.replace(/\B(?=(\d{3})+$)/g, ",") : whole!;
  return fraction === undefined ? parts : `${parts}.${fraction}`;
}

/** What a grid of so many axes consists of. */
export const cells = (axes: number): string => ["samples", "pixels", "voxels"][axes - 1] ?? "cells";

/** A count, its thousands set apart. */
export const count = (value: number): string => grouped(String(Math.round(value)));

/** So many of something: 1 position, 2 positions. */
export const counted = (value: number, noun: string): string => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** A large count by its magnitude: 3.1 G. */
export function magnitude(value: number): string {
  const units = ["", " k", " M", " G", " T", " P"];
  let scaled = value;
  let unit = 0;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return (scaled >= 100 || unit === 0 ? scaled.toFixed(0) : scaled.toPrecision(2)) + units[unit];
}

export function seconds(value: number): string {
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const milliseconds = (value: number): string =>
  value < 1000 ? `${number(value, value < 10 ? 2 : 3)} ms` : seconds(value / 1000);

/** How many times as fast. */
export const times = (value: number): string => `${value < 9.95 ? value.toFixed(1) : count(value)}×`;

/** A position or a size with the letters of its axes: y 12, x 40. */
export function coordinates(values: readonly number[], axes: string | null): string {
  return values.map((value, axis) => (axes?.[axis] ? `${axes[axis]} ${value}` : String(value))).join(", ");
}
