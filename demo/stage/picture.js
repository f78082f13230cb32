// @ts-check
// A test pattern in place of video: which preset is granted, to whom, and for how long the token is good.
import { left } from "./dom.js";

const BARS = ["#c0c0c0", "#c0c000", "#00c0c0", "#00c000", "#c000c0", "#c00000", "#0000c0"];
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{preset: "sd" | "preview" | "", lines: string[], until?: number}} view
 */
export function draw(canvas, { preset, lines, until }) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const { width, height } = canvas;
  const bar = width / BARS.length;
  BARS.forEach((colour, index) => {
    context.fillStyle = preset === "sd" ? colour : preset === "preview" ? `hsl(0 0% ${75 - index * 9}%)` : "#111";
    context.fillRect(index * bar, 0, bar + 1, height);
  });
  if (preset && !STILL.matches) {
    context.fillStyle = "#ffffffaa";
    context.fillRect(((Date.now() / 20) % (width + 40)) - 40, height - 24, 40, 8);
  }
  context.fillStyle = "#000c";
  const said = until === undefined ? lines : [...lines, left(until)];
  const top = height / 2 - said.length * 17;
  context.fillRect(width * 0.12, top - 10, width * 0.76, said.length * 34 + 20);
  context.fillStyle = "#fff";
  context.textAlign = "center";
  said.forEach((line, index) => {
    context.font = index ? "20px system-ui, sans-serif" : "bold 26px system-ui, sans-serif";
    context.fillText(line, width / 2, top + 24 + index * 34, width * 0.72);
  });
}
