// The demo site: the current user and small animations. The tag sends the events; see data-event in the page.
"use strict";

window.opportune ??= [];
const user = document.getElementById("user");
const cart = [];
let wins = 0;
let turns = 0;

/** Identify the user, as a site does after a login. */
function enter() {
  opportune.push(["reset"]);
  opportune.push(["identify", user.value]);
  document.dispatchEvent(new CustomEvent("entered", { detail: user.value }));
  streak(0);
}

function streak(count) {
  wins = count;
  document.querySelectorAll("#streak i").forEach((dot, place) => dot.classList.toggle("on", place < wins % 3 || (wins && wins % 3 === 0)));
}

function pick(list) {
  return list[Math.floor(Math.random() * list.length)];
}

const shows = {
  game_result({ propOutcome: outcome }) {
    const cards = { win: ["A♠", "K♥"], loss: ["7♣", "9♦"], draw: ["Q♣", "J♠"] }[outcome];
    document.querySelectorAll("#cards span").forEach((card, place) => {
      card.textContent = cards[place];
      card.classList.toggle("red", /[♥♦]/.test(cards[place]));
    });
    streak(outcome === "win" ? wins + 1 : 0);
  },
  wheel_spun() {
    turns += 3 + Math.random();
    document.getElementById("wheel").style.transform = `rotate(${turns}turn)`;
  },
  jackpot_won() {
    document.querySelectorAll("#slots span").forEach((reel) => (reel.textContent = "7"));
    setTimeout(() => document.querySelectorAll("#slots span").forEach((reel) => (reel.textContent = pick("♣♦♠♥"))), 2500);
  },
  cart_filled({ propItem: item }) {
    cart.push(item);
  },
  order_placed() {
    cart.length = 0;
  },
};

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button[data-event]");
  if (!button) return;
  shows[button.dataset.event]?.(button.dataset);
  document.getElementById("cart").textContent = cart.length ? `${cart.length} in the cart` : "nothing yet";
});

// Popups link to pages that only a real casino would have.
document.addEventListener("opportune:click", (event) => {
  event.preventDefault();
  document.getElementById("note").textContent = `A real site would now open ${event.detail.url}`;
  setTimeout(() => (document.getElementById("note").textContent = ""), 4000);
});

user.addEventListener("change", enter);
enter();
