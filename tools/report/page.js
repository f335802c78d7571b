'use strict';
(function () {
  var root = document.documentElement;
  var form = document.getElementById('controls');
  var theme = document.getElementById('theme');
  var names = ['sort', 'of', 'minus', 'order', 'label', 'show', 'colours'];

  function at(name) { return document.getElementById('by-' + name); }
  function value(name) { var box = at(name); return box ? box.value : ''; }

  /* ---- what the address says ---- */

  function read() {
    var text = location.hash.slice(1);
    return new URLSearchParams(text.indexOf('=') < 0 ? '' : text);
  }

  function isDark() {
    var chosen = root.getAttribute('data-theme');
    return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  }

  function write() {
    var words = new URLSearchParams();
    names.forEach(function (name) {
      var box = at(name);
      if (box && !box.options[box.selectedIndex].defaultSelected) words.set(name, box.value);
    });
    if (root.hasAttribute('data-theme')) words.set('theme', root.getAttribute('data-theme'));
    try {
      history.replaceState(null, '', words.toString() ? '#' + words : location.pathname);
    } catch (refused) { /* an address that may not change: the page works the same */ }
  }

  /* ---- the gallery ---- */

  function numbers(card) {
    if (!card.values)
      card.values = card.getAttribute('data-v').split(';').map(function (row) {
        return row.split(',').map(function (v) { return v === '' ? NaN : Number(v); });
      });
    return card.values;
  }

  function told(v) {
    if (isNaN(v)) return '–';
    if (v === 0) return '0';
    var text = Math.abs(v) < 1e-4 ? v.toExponential(2) : v.toPrecision(3);
    return (text.indexOf('e+') < 0 ? text : String(Number(text))).replace('-', '−');
  }

  function arrange() {
    var box = document.getElementById('cards');
    var cards = Array.prototype.slice.call(box.children);
    var metric = at('sort').options[at('sort').selectedIndex];
    var column = metric.getAttribute('data-at');
    var of = at('of').selectedIndex;
    var minus = at('minus') ? at('minus').selectedIndex - 1 : -1;
    var sign = value('order') === 'worst' ? -1 : 1;
    var shown = 0;
    at('of').disabled = column === null;
    if (at('minus')) at('minus').disabled = column === null;
    function key(card) {
      if (column === null) return Number(card.getAttribute('data-item'));
      var v = numbers(card)[of][column];
      if (minus >= 0) v -= numbers(card)[minus][column];
      return -v * Number(metric.getAttribute('data-better'));
    }
    cards.forEach(function (card) {
      var right = card.getAttribute('data-right');
      card.key = key(card) * sign;
      card.hidden = (value('label') !== '' && card.getAttribute('data-label') !== value('label')) ||
        (value('show') === 'right' && right !== '1') || (value('show') === 'wrong' && right !== '0');
      if (!card.hidden) shown++;
      if (column !== null)
        card.querySelectorAll('.value').forEach(function (text, i) {
          var v = numbers(card)[i][column];
          text.textContent = told(v);
        });
    });
    cards.sort(function (a, b) {
      if (isNaN(a.key) || isNaN(b.key)) return isNaN(a.key) - isNaN(b.key);
      return a.key - b.key || a.getAttribute('data-item') - b.getAttribute('data-item');
    });
    cards.forEach(function (card) { box.appendChild(card); });
    var first = document.getElementById('first-order'); /* true of the page as it comes */
    if (first)
      first.hidden = ['sort', 'of', 'minus', 'order'].some(function (name) {
        return at(name) && !at(name).options[at(name).selectedIndex].defaultSelected;
      });
    document.getElementById('shown').textContent =
      (shown === cards.length ? shown : shown + ' of ' + cards.length) + ' shown';
  }

  function paint() {
    root.setAttribute('data-colours', value('colours') || 'uniform');
    theme.textContent = isDark() ? 'Light' : 'Dark';
    theme.setAttribute('aria-label', (isDark() ? 'Light' : 'Dark') + ' colours of the page');
  }

  function follow() {
    var words = read();
    if (form)
      names.forEach(function (name) {
        var box = at(name);
        if (!box || !words.has(name)) return;
        Array.prototype.forEach.call(box.options, function (option, i) {
          if (option.value === words.get(name)) box.selectedIndex = i;
        });
      });
    if (words.get('theme') === 'dark' || words.get('theme') === 'light')
      root.setAttribute('data-theme', words.get('theme'));
    paint();
    if (form) arrange();
  }

  theme.hidden = false;
  theme.addEventListener('click', function () {
    root.setAttribute('data-theme', isDark() ? 'light' : 'dark');
    paint();
    write();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paint);
  if (form) {
    form.hidden = false;
    form.addEventListener('submit', function (event) { event.preventDefault(); });
    form.addEventListener('change', function () { paint(); arrange(); write(); });
    form.addEventListener('reset', function () {
      setTimeout(function () { paint(); arrange(); write(); }, 0);
    });
  }
  addEventListener('hashchange', follow);
  addEventListener('beforeprint', function () {
    document.querySelectorAll('main details').forEach(function (box) {
      if (!box.closest('.card')) box.open = true;
    });
  });
  follow();
}());
