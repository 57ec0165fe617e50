// On a phone the navigation scrolls sideways. Scroll it to the name of this page.

const current = document.querySelector(".top nav [aria-current]");
if (current) {
  const nav = current.parentElement;
  nav.scrollLeft = current.offsetLeft - nav.offsetLeft - (nav.clientWidth - current.offsetWidth) / 2;
}
