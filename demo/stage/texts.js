// @ts-check
// What the page says, in two languages. A text's {0}, {1} are filled in.

/** @type {Record<string, [english: string, chinese: string]>} */
const TEXTS = {
  title: ["Footlights: the stage", "Footlights：舞台"],
  language: ["Language", "語言"],
  away: ["Nobody answers", "沒有回應"],
  refused: ["Refused: {0}", "被拒絕：{0}"],
  why: ["what to do", "該怎麼做"],
  "entry": ["Who are you?", "你是誰？"],
  "entry.what": [
    "Each tab is somebody. Be a streamer in one and a viewer in the other: nobody pays, and nobody is filmed. Diamonds are made for you.",
    "每個分頁是一個人：一個分頁當直播主，另一個當觀眾。沒有人付錢，也沒有人被拍攝；鑽石是憑空生成的。",
  ],
  "role.streamer": ["Streamer", "直播主"],
  "role.viewer": ["Viewer", "觀眾"],
  "other.streamer": ["Open a tab for another streamer", "開啟另一位直播主的分頁"],
  "other.viewer": ["Open a viewer’s tab", "開啟觀眾的分頁"],
  balance: ["◆ {0} diamonds · {1} earned", "◆ {0} 鑽石 · 收入 {1}"],
  "balance.changed": ["diamonds {0} ({1}), earned {2} ({3})", "鑽石 {0}（{1}），收入 {2}（{3}）"],

  ahead: ["The clock is {0} ahead.", "時鐘快了 {0}。"],

  "play.off": ["Off air", "未開播"],
  "play.on": ["On air: {0}", "直播中：{0}"],
  "play.sessions": ["Who is on air", "正在直播"],
  "play.nobody": ["Nobody is on air. A streamer in another tab can change that.", "目前沒有人開播，可在另一個分頁當直播主。"],
  "watching.sd": ["You see the paid stream (sd).", "你正在看付費畫面（sd）。"],
  "watching.preview": ["You see the free preview.", "你正在看免費預覽（preview）。"],
  "watching.none": ["You see nothing: {0}", "沒有畫面：{0}"],
  "picture.token": ["token ends in", "權杖剩餘"],
  "picture.exclusive": ["1-on-1", "一對一"],
  "picture.none": ["no signal", "沒有訊號"],
  prices: ["1-on-1 ◆ {0}, paid stream ◆ {1} for {2} s", "一對一 ◆ {0}，付費畫面 ◆ {1}，每 {2} 秒"],
  untitled: ["untitled", "未命名"],
  somebody: ["somebody", "某人"],

  timeline: ["What passes", "時間軸"],
  "timeline.reads": ["queries, too", "包含查詢"],
  "timeline.elsewhere": ["of others, too", "包含其他人的"],
  "timeline.listening": ["listening to Kafka", "正在接收 Kafka"],
  "timeline.lost": ["Kafka is not heard at this moment", "目前收不到 Kafka"],

  "kind.TriggerExclusiveGoal": ["Invitation to a 1-on-1", "一對一邀請"],
  "kind.ExclusiveGoal": ["1-on-1", "一對一"],
  "kind.ShowFundingGoal": ["Tickets for a show", "表演募票"],
  "kind.ShowGoal": ["Show", "表演"],
  "kind.TriggerPrivateGoal": ["Private goal", "私密目標"],
  "kind.KaraokeGoal": ["Song", "點歌"],
  "state.proposed": ["waiting for the money", "等待付款"],
  "state.active": ["open", "進行中"],
  "state.ended": ["over", "已結束"],
  "state.rejected": ["not possible", "未成立"],
  "outcome.funded": ["funded", "募票成功"],
  "outcome.unfunded": ["not funded", "募票未成"],
  "outcome.completed": ["kept", "已完成"],
  "outcome.cancelled": ["broken off", "已取消"],
  "outcome.agreed": ["agreed", "已同意"],
  "outcome.refused": ["refused", "已拒絕"],
  "outcome.timed_out": ["timed out", "已逾時"],
  order: ["Order", "訂單"],
  "payment.open": ["not paid", "未付款"],
  "payment.pending": ["to be paid", "等待付款"],
  "payment.confirming": ["being confirmed", "確認中"],
  "payment.paid": ["paid", "已付款"],
  "payment.failed": ["not paid in the end", "付款未成"],
  "payment.review": ["being looked at", "人工確認中"],
  "payment.refunded": ["money given back", "已退款"],
  "payment.charged_back": ["money fetched back", "已撥回"],
  "fulfilment.granting": ["on its way", "發放中"],
  "fulfilment.fulfilled": ["there", "已發放"],
  "fulfilment.taking_back": ["being taken back", "收回中"],
  "fulfilment.taken_back": ["taken back", "已收回"],
  lapsed: ["lapsed: the money goes back", "已失效：退款"],
  progress: ["{0} of {1}", "{0} / {1}"],
  from: ["from {0}", "來自 {0}"],

  "act.forget": ["Be somebody else", "換一個人"],
  "act.minute": ["+1 min", "＋1 分鐘"],
  "act.watch": ["Watch", "觀看"],
  "act.leave": ["Leave", "離開"],
  "act.end": ["Go off air", "結束直播"],
  "act.agree": ["Agree", "同意"],
  "act.refuse": ["Refuse", "拒絕"],
  "act.withdraw": ["Withdraw", "收回"],
  "act.begin": ["Begin the 1-on-1", "開始一對一"],
  "act.extend": ["One step more", "延長一段"],
  "act.stop": ["End it", "結束"],
  "act.sold": ["End the sale", "停止售票"],
  "act.perform": ["Perform", "開始表演"],
  "act.give-up": ["Give up", "放棄"],
  "act.ticket": ["Buy a ticket", "買票"],
  "act.rose": ["Give a rose", "送玫瑰"],
  "act.cake": ["Give a cake", "送蛋糕"],
  "act.pay": ["Pay", "付款"],
  "act.pay-there": ["Go and pay (in a tab of its own)", "前往付款（另開分頁）"],
  "act.block": ["Block this viewer", "封鎖此觀眾"],

  "form.enter": ["Enter", "進入"],
  "form.air": ["Go on air", "開播"],
  "form.invite": ["Invite to a 1-on-1", "邀請一對一"],
  "form.pay": ["Pay for minutes", "付費觀看"],
  "form.gift": ["Give something", "送禮"],
  "form.buy": ["Buy diamonds", "購買鑽石"],
  "form.show": ["Sell tickets for a show", "開賣表演門票"],
  "form.private": ["Set a private goal", "設定私密目標"],
  "field.name": ["Name", "名字"],
  "field.role": ["Role", "角色"],
  "field.diamonds": ["Diamonds", "鑽石"],
  "field.title": ["Title", "標題"],
  "field.exclusive": ["1-on-1, ◆ a step", "一對一，每段 ◆"],
  "field.sd": ["Paid stream, ◆ a step", "付費畫面，每段 ◆"],
  "field.steps": ["Steps of {0} s", "段數（每段 {0} 秒）"],
  "field.product": ["What", "禮物"],
  "field.count": ["How many", "數量"],
  "product.livestream-gift_rose": ["Rose", "玫瑰"],
  "product.livestream-gift_cake": ["Cake", "蛋糕"],
  "product.karaoke-dance_30": ["Dance, half a minute", "跳舞半分鐘"],
  "product.karaoke-song_60": ["Song, a minute", "唱歌一分鐘"],
  "field.pack": ["Pack", "組合"],
  "pack.diamond_3300": ["◆ 100, NT$33", "◆ 100，NT$33"],
  "pack.diamond_29900": ["◆ 1 000, NT$299", "◆ 1 000，NT$299"],
  "pack.diamond_149000": ["◆ 5 200, NT$1490", "◆ 5 200，NT$1490"],
  "field.gateway": ["Paid at", "付款方式"],
  "gateway.sonet": ["So-net’s sandbox", "So-net（模擬）"],
  "gateway.sandbox": ["the sandbox", "模擬金流"],
  "field.tickets": ["Tickets wanted", "目標票數"],
  "field.sale": ["Seconds to sell", "售票秒數"],
  "field.perform": ["Show, steps of {0} s", "表演段數（每段 {0} 秒）"],
  "field.target": ["◆ wanted", "目標 ◆"],
  "field.seconds": ["Seconds", "秒數"],
};

const LANGUAGES = ["en", "zh-Hant"];
const KEPT = "footlights-language";
const asked = localStorage.getItem(KEPT) ?? (/^zh/i.test(navigator.language) ? "zh-Hant" : "en");

/** The language that the page is in. */
export const language = LANGUAGES.includes(asked) ? asked : "en";

/**
 * @param {string} key
 * @param {...(string | number)} parts
 */
export function say(key, ...parts) {
  const texts = TEXTS[key];
  if (!texts) return key.replace(/^[a-z]+\./, ""); // a word that the platform may add
  return texts[LANGUAGES.indexOf(language)].replace(/\{(\d)\}/g, (_, number) => String(parts[Number(number)]));
}

/** Put the texts where the page has left room for them, and let the language be chosen. */
export function translate() {
  document.documentElement.lang = language;
  document.title = say("title");
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-text]"))) {
    element.textContent = say(element.dataset.text ?? "");
  }
  const select = /** @type {HTMLSelectElement} */ (document.getElementById("language"));
  select.replaceChildren(new Option("English", "en"), new Option("繁體中文", "zh-Hant"));
  select.value = language;
  select.addEventListener("change", () => {
    localStorage.setItem(KEPT, select.value);
    location.reload(); // who one is stays with the tab
  });
}
