/** A slider for each of three axes, below the slices. */

export class Sliders {
  readonly element = document.createElement("div");
  private rows: { input: HTMLInputElement; number: HTMLElement }[] = [];
  private made = "";

  constructor(private readonly moved: (axis: number, cell: number) => void) {
    this.element.className = "kdb-stage-sliders";
    this.element.hidden = true;
  }

  /** `at` are the cells that the slices go through; no axes take the sliders away. */
  show(axes: string, size: readonly number[], at: readonly number[]): void {
    const wanted = `${axes} ${size.join(" ")}`;
    if (this.made !== wanted) {
      this.made = wanted;
      this.rows = size.map((length, axis) => this.row(axes[axis] ?? `axis ${axis + 1}`, length, axis));
      this.element.hidden = size.length === 0;
    }
    for (const [axis, { input, number }] of this.rows.entries()) {
      const cell = String(Math.floor(at[axis]!));
      if (input.value !== cell) input.value = cell;
      number.textContent = `${cell} / ${size[axis]! - 1}`;
    }
  }

  private row(name: string, length: number, axis: number): { input: HTMLInputElement; number: HTMLElement } {
    if (axis === 0) this.element.replaceChildren();
    const row = document.createElement("label");
    row.className = "kdb-stage-slider";
    const letter = document.createElement("span");
    letter.className = "kdb-stage-slider-axis";
    letter.textContent = name;
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: "0", max: String(length - 1), step: "1" });
    input.setAttribute("aria-label", `Slice across ${name}`);
    input.addEventListener("input", () => this.moved(axis, Number(input.value)));
    const number = document.createElement("span");
    number.className = "kdb-stage-slider-number";
    row.append(letter, input, number);
    this.element.append(row);
    return { input, number };
  }
}
