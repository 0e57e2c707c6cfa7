// What is known of a pixel before something is selected.

export const UNKNOWN = 0;
export const THING = 1;
export const GROUND = 2;
// Thing, as far as is known: it may turn out otherwise.
export const MAYBE_THING = 3;
// Thing, or ground, for sure, and with it the whole piece.
export const CLICKED = 4;
export const CLICKED_AWAY = 8;
