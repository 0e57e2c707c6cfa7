// Lines over a photo that show where the tool is; knows no tool.

/** A closed shape; points in the picture's pixels. */
export function drawOutline(context, view, points) {
  context.beginPath();
  for (const point of points) {
    const { x, y } = view.toStage(point.x, point.y);
    context.lineTo(x, y);
  }
  context.closePath();
  strokeTwice(context);
}

/** A circle; `at` and the diameter in the stage's CSS pixels. */
export function drawRing(context, at, diameter) {
  context.beginPath();
  context.arc(at.x, at.y, Math.max(2, diameter / 2), 0, 2 * Math.PI);
  strokeTwice(context);
}

export function drawCross(context, at) {
  context.beginPath();
  context.moveTo(at.x - 9, at.y);
  context.lineTo(at.x + 9, at.y);
  context.moveTo(at.x, at.y - 9);
  context.lineTo(at.x, at.y + 9);
  strokeTwice(context);
}

/** Where a thing was clicked; points in the picture's pixels, empty where it was taken away. */
export function drawSeeds(context, view, clicks) {
  for (const { x, y, takesAway } of clicks) {
    const at = view.toStage(x, y);
    context.beginPath();
    context.arc(at.x, at.y, 4, 0, 2 * Math.PI);
    context.fillStyle = takesAway ? "#000" : "#fff";
    context.fill();
    strokeTwice(context);
  }
}

/** Dark and light, so that it is seen on everything. */
function strokeTwice(context) {
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / 55%)";
  context.stroke();
  context.lineWidth = 1.25;
  context.strokeStyle = "#fff";
  context.stroke();
}
