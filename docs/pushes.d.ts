// Written by `python docs/generate.py` from the notifier's table and the events' schemas; CI fails when it is stale.
// pushes.md says on which channels each is heard. Times are Unix seconds; ids are 24 hexadecimal digits.

/** What every push has. */
export interface Head {
  /** The event that it tells of: a push that comes twice has the same. */
  event_id: string;
  /** When that was decided. */
  at: number;
  /** Rises on each channel, with gaps. */
  seq: number;
}

/** In place of data that are too long for Pusher. */
export interface Elsewhere extends Head {
  /** The path that answers with them. */
  fetch: string;
}

/** A word of a set that may grow: act on one that you do not know as on none. */
export type Open<Known extends string> = Known | (string & Record<never, never>);

/** A goal is part of its session now; whoever watches may be told. */
export interface GoalAdded extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The goal that it is about. */
  goal_id: string;
  /** The kind of the goal. */
  kind: Open<"ShowFundingGoal" | "ShowGoal" | "TriggerExclusiveGoal" | "ExclusiveGoal" | "TriggerPrivateGoal" | "KaraokeGoal">;
  /** Where the goal counts, and for whom alone. */
  conditions: {
    /** The broadcast in which the goal counts. */
    session_id: string;
    /** Whose alone it is; without anybody here it is everybody's. */
    exclusive_to?: string;
  };
  /** What the goal is about. */
  context: {
    /** What the goal is, as `POST /goals` names it; it decides which of the other fields are there. */
    type: Open<"show-funding" | "show" | "trigger-exclusive" | "exclusive" | "trigger-private" | "karaoke">;
    /** The broadcast that it belongs to. */
    session_id?: string;
    /** Seconds that the show lasts. */
    perform_duration?: number;
    /** Seconds after an unfunded end in which the streamer may begin the show all the same. */
    hesitation_countdown?: number;
    /** The show that followed; absent if none has yet. */
    show_goal_id?: string;
    /** The funding that the show follows, or that the ticket is of. */
    funding_goal_id?: string;
    /** The ticket that is sold for it. */
    ticket_product_id?: string;
    /** `earlybird` for a ticket that costs less, else `regular`. */
    ticket_product_type?: "earlybird" | "regular";
    /** How much less an early bird costs than a regular ticket. */
    discount_percentage?: number;
    /** The gift that it is about. */
    gift_id?: string;
    /** The viewer who gives. */
    sender_id?: string;
    /** What was bought: a fixed record of the shop. */
    product_id?: string;
    /** Whose alone it is; without anybody here it is everybody's. */
    exclusive_to?: string;
    /** Seconds that the 1-on-1, or the song, is to last. */
    duration?: number;
    /** The 1-on-1 that followed this invitation. */
    exclusive_goal_id?: string;
    /** The invitation that the 1-on-1 follows. */
    trigger_exclusive_goal_id?: string;
  };
  /** The marks on the way to the target, lowest first. */
  levels?: Array<{
    /** What the streamer calls this mark. */
    title?: string;
    /** How much is wanted, in the unit of the goal's progress. */
    target: number;
  }>;
  /** When it begins to count; absent: at once. */
  nbf?: number;
  /** Until when the promise is open; it can still move. */
  exp?: number;
}

/** A held payment counts: goals accepts that hold, for good. `reached` says whether the target is met with it. */
export interface GoalProgressUpdated extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The goal that it is about. */
  goal_id: string;
  /** The kind of the goal. */
  kind: Open<"ShowFundingGoal" | "ShowGoal" | "TriggerExclusiveGoal" | "ExclusiveGoal" | "TriggerPrivateGoal" | "KaraokeGoal">;
  /** The buyer. */
  user_id: string;
  /** How many tickets or gifts were paid with it. */
  count: number;
  /** The total after it: tickets of a funding, diamonds of a private goal. */
  progress: number;
  /** How much is wanted, in the unit of the goal's progress. */
  target: number;
  /** Whether the target is met with it. */
  reached: boolean;
}

/** A running exclusive lasts until `exp` now, `duration` longer than before `nbf` or its old end. */
export interface GoalExtended extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The goal that it is about. */
  goal_id: string;
  /** Until when it lasts now. */
  exp: number;
  /** When it begins. */
  nbf?: number;
  /** By how many seconds it became longer. */
  duration?: number;
  /** The payment that the time was bought with; absent: the streamer gives it. */
  payment_id?: string;
}

/** A promise is over, for good, and this is how it came out. Told once a goal; money follows `outcome`. */
export interface GoalEnded extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The goal that it is about. */
  goal_id: string;
  /** The kind of the goal. */
  kind: Open<"ShowFundingGoal" | "ShowGoal" | "TriggerExclusiveGoal" | "ExclusiveGoal" | "TriggerPrivateGoal" | "KaraokeGoal">;
  /** Where the goal counts, and for whom alone. */
  conditions: {
    /** The broadcast in which the goal counts. */
    session_id: string;
    /** Whose alone it is; without anybody here it is everybody's. */
    exclusive_to?: string;
  };
  /** What the goal is about. */
  context: {
    /** What the goal is, as `POST /goals` names it; it decides which of the other fields are there. */
    type: Open<"show-funding" | "show" | "trigger-exclusive" | "exclusive" | "trigger-private" | "karaoke">;
    /** The broadcast that it belongs to. */
    session_id?: string;
    /** Seconds that the show lasts. */
    perform_duration?: number;
    /** Seconds after an unfunded end in which the streamer may begin the show all the same. */
    hesitation_countdown?: number;
    /** The show that followed; absent if none has yet. */
    show_goal_id?: string;
    /** The funding that the show follows, or that the ticket is of. */
    funding_goal_id?: string;
    /** The ticket that is sold for it. */
    ticket_product_id?: string;
    /** `earlybird` for a ticket that costs less, else `regular`. */
    ticket_product_type?: "earlybird" | "regular";
    /** How much less an early bird costs than a regular ticket. */
    discount_percentage?: number;
    /** The gift that it is about. */
    gift_id?: string;
    /** The viewer who gives. */
    sender_id?: string;
    /** What was bought: a fixed record of the shop. */
    product_id?: string;
    /** Whose alone it is; without anybody here it is everybody's. */
    exclusive_to?: string;
    /** Seconds that the 1-on-1, or the song, is to last. */
    duration?: number;
    /** The 1-on-1 that followed this invitation. */
    exclusive_goal_id?: string;
    /** The invitation that the 1-on-1 follows. */
    trigger_exclusive_goal_id?: string;
  };
  /** The marks on the way to the target, lowest first. */
  levels?: Array<{
    /** What the streamer calls this mark. */
    title?: string;
    /** How much is wanted, in the unit of the goal's progress. */
    target: number;
  }>;
  /** Whether it is on now, as this event leaves it. */
  active: false;
  /** When it was over, however long it might have lasted. */
  exp: number;
  /** When the goal ended: at its `exp` at the latest, however late that was noticed. */
  ended_at: number;
  /** How the goal came out; the money depends on it. */
  outcome: "funded" | "unfunded" | "completed" | "cancelled" | "agreed" | "refused" | "timed_out";
  /** Whose goal it is, and what was agreed. */
  metadata: {
    /** The streamer. */
    user_id: string;
    /** Seconds that the viewer has bought. */
    prepaid_duration?: number;
    /** When the streamer agreed; null if that never happened, or nobody had to. */
    agreed?: number;
  };
  /** How far the goal is, in the unit of its target. */
  progress?: number;
}

/** A promise is over, for good, and this is how it came out. Told once a goal; money follows `outcome`. */
export interface ExclusiveClosed extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The goal that it is about. */
  goal_id: string;
  /** The kind of the goal. */
  kind: Open<"ShowFundingGoal" | "ShowGoal" | "TriggerExclusiveGoal" | "ExclusiveGoal" | "TriggerPrivateGoal" | "KaraokeGoal">;
  /** Where the goal counts, and for whom alone. */
  conditions: {
    /** The broadcast in which the goal counts. */
    session_id: string;
    /** Whose alone it is; without anybody here it is everybody's. */
    exclusive_to?: string;
  };
  /** What the goal is about. */
  context: {
    /** What the goal is, as `POST /goals` names it; it decides which of the other fields are there. */
    type: Open<"show-funding" | "show" | "trigger-exclusive" | "exclusive" | "trigger-private" | "karaoke">;
    /** The broadcast that it belongs to. */
    session_id?: string;
    /** Seconds that the show lasts. */
    perform_duration?: number;
    /** Seconds after an unfunded end in which the streamer may begin the show all the same. */
    hesitation_countdown?: number;
    /** The show that followed; absent if none has yet. */
    show_goal_id?: string;
    /** The funding that the show follows, or that the ticket is of. */
    funding_goal_id?: string;
    /** The ticket that is sold for it. */
    ticket_product_id?: string;
    /** `earlybird` for a ticket that costs less, else `regular`. */
    ticket_product_type?: "earlybird" | "regular";
    /** How much less an early bird costs than a regular ticket. */
    discount_percentage?: number;
    /** The gift that it is about. */
    gift_id?: string;
    /** The viewer who gives. */
    sender_id?: string;
    /** What was bought: a fixed record of the shop. */
    product_id?: string;
    /** Whose alone it is; without anybody here it is everybody's. */
    exclusive_to?: string;
    /** Seconds that the 1-on-1, or the song, is to last. */
    duration?: number;
    /** The 1-on-1 that followed this invitation. */
    exclusive_goal_id?: string;
    /** The invitation that the 1-on-1 follows. */
    trigger_exclusive_goal_id?: string;
  };
  /** The marks on the way to the target, lowest first. */
  levels: Array<{
    /** What the streamer calls this mark. */
    title?: string;
    /** How much is wanted, in the unit of the goal's progress. */
    target: number;
  }>;
  /** Whether it is on now, as this event leaves it. */
  active: false;
  /** When it was over, however long it might have lasted. */
  exp: number;
  /** When the goal ended: at its `exp` at the latest, however late that was noticed. */
  ended_at: number;
  /** How the goal came out; the money depends on it. */
  outcome: "funded" | "unfunded" | "completed" | "cancelled" | "agreed" | "refused" | "timed_out";
  /** Whose goal it is, and what was agreed. */
  metadata: {
    /** The streamer. */
    user_id: string;
    /** Seconds that the viewer has bought. */
    prepaid_duration?: number;
    /** When the streamer agreed; null if that never happened, or nobody had to. */
    agreed?: number;
  };
  /** How far the goal is, in the unit of its target. */
  progress: number;
}

/** A proposal came to nothing and never was a promise; `user_id` is the viewer who asked. */
export interface GoalRejected extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The goal that it is about. */
  goal_id: string;
  /** The kind of the goal. */
  kind: Open<"ShowFundingGoal" | "ShowGoal" | "TriggerExclusiveGoal" | "ExclusiveGoal" | "TriggerPrivateGoal" | "KaraokeGoal">;
  /** The viewer who asked. */
  user_id: string;
  /** Why. The set may grow: act on a word that you do not know as on none. */
  reason: Open<"insufficient_diamonds" | "proposal_expired" | "stage_taken" | "session_ended" | "viewer_blocked" | "too_many_invitations">;
}

/** Prices, preset, sources, or to whom alone the session belongs have changed. */
export interface SessionUpdated extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** Whether it is on now, as this event leaves it. */
  active: boolean;
  /** What is watched: `preview` is free streaming, `sd` is paid streaming. */
  preset: Open<"preview" | "sd">;
  /** What watching costs. */
  prices: {
    /** What a step of paid streaming costs; absent if not for sale. */
    sd?: number;
    /** What a step of an invitation to a 1-on-1 costs; absent if not for sale. */
    exclusive?: number;
  };
  /** Whether the session is somebody's alone; not whose. */
  exclusive: boolean;
}

/** The broadcast is over, for good, since `statuses.ended`. Told once a session. */
export interface SessionEnded extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** Whether it is on now, as this event leaves it. */
  active: boolean;
  /** What is watched: `preview` is free streaming, `sd` is paid streaming. */
  preset: Open<"preview" | "sd">;
  /** What watching costs. */
  prices: {
    /** What a step of paid streaming costs; absent if not for sale. */
    sd?: number;
    /** What a step of an invitation to a 1-on-1 costs; absent if not for sale. */
    exclusive?: number;
  };
  /** Whether the session is somebody's alone; not whose. */
  exclusive: boolean;
}

/** A viewer may watch: the permission is written, so the next token call succeeds. */
export interface StreamAuthorized extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** What is watched: `preview` is free streaming, `sd` is paid streaming. */
  preset: Open<"preview" | "sd">;
  /** When the viewer's whole paid time began; null if this cause gives no time. */
  nbf: number | null;
  /** Seconds that this cause gave; null if it gives no time. */
  duration: number | null;
  /** When the viewer's whole paid time ends; null if this cause gives no time. */
  exp: number | null;
  /** Why. The set may grow: act on a word that you do not know as on none. */
  reason: Open<"agreed" | "extended" | "paid" | "ticket" | "private" | "exclusive_ended" | "show" | "exclusive">;
  /** The goal that it follows from. */
  goal_id?: string;
  /** The 1-on-1 that it belongs to. */
  exclusive_goal_id?: string;
  /** The payment that it is about. */
  payment_id?: string;
  /** The gift that it is about. */
  gift_id?: string;
}

/** Something of a viewer's was taken back. `remaining` replaces what was known; who has nothing left is cut off. */
export interface StreamRevoked extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** Why. The set may grow: act on a word that you do not know as on none. */
  reason: Open<"refunded" | "extension_rejected" | "reversed">;
  /** All that the viewer still has; it replaces what was known. */
  remaining: {
    /** When the paid time begins; null: none is left. */
    nbf: number | null;
    /** When the paid time ends; null: none is left. */
    exp: number | null;
    /** Whether a ticket still lets the viewer watch. */
    ticket: boolean;
    /** Whether a private goal that was kept still lets the viewer watch. */
    private: boolean;
  };
  /** The goal that it follows from. */
  goal_id?: string;
  /** The 1-on-1 that it belongs to. */
  exclusive_goal_id?: string;
  /** The payment that it is about. */
  payment_id?: string;
  /** The gift that it is about. */
  gift_id?: string;
}

/** Nothing was paid, and nothing will be. */
export interface PaymentFailed extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The payment that it is about. */
  payment_id: string;
  /** What was paid for. */
  purpose: Open<"minutes" | "gift">;
  /** The viewer who pays. */
  payer_id: string;
  /** Diamonds that this is about. */
  amount_diamonds: number;
  /** Seconds that were bought; absent for a gift. */
  duration?: number;
  /** Whose price was paid for the minutes; absent for a gift. */
  preset?: Open<"sd" | "exclusive">;
  /** The 1-on-1 that it belongs to. */
  exclusive_goal_id?: string;
  /** The gift that it is about. */
  gift_id?: string;
  /** Why. The set may grow: act on a word that you do not know as on none. */
  reason?: Open<"insufficient_diamonds" | "expired" | "blocked">;
}

/** Of a payment that had succeeded, `amount_diamonds` were given back: a part, or all that was left of it. */
export interface PaymentReversed extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The payment that it is about. */
  payment_id: string;
  /** What was paid for. */
  purpose: Open<"minutes" | "gift">;
  /** The viewer who pays. */
  payer_id: string;
  /** Diamonds that this is about. */
  amount_diamonds: number;
  /** Seconds that were bought; absent for a gift. */
  duration?: number;
  /** Whose price was paid for the minutes; absent for a gift. */
  preset?: Open<"sd" | "exclusive">;
  /** The 1-on-1 that it belongs to. */
  exclusive_goal_id?: string;
  /** The gift that it is about. */
  gift_id?: string;
  /** Why. The set may grow: act on a word that you do not know as on none. */
  reason?: Open<"session_ended" | "exclusive_to_another" | "exclusive_over" | "extension_rejected" | "blocked">;
}

/** One buyer's money is back in the wallet, all of it. One per earning. */
export interface EscrowFailed extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The goal that it is about. */
  goal_id: string;
  /** The user whose money it is. */
  buyer_id: string;
  /** Diamonds that this is about. */
  amount_diamonds: number;
  /** Why. The set may grow: act on a word that you do not know as on none. */
  reason: Open<"contribution_rejected" | "refused" | "timed_out" | "cancelled" | "no_show" | "no_exclusive" | "session_ended" | "given_up" | "not_kept" | "blocked">;
  /** The gift that it is about. */
  gift_id?: string;
}

/** The promise was kept: one buyer's money went to the streamer. One per earning. */
export interface EscrowCompleted extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The goal that it is about. */
  goal_id: string;
  /** The user whose money it is. */
  buyer_id: string;
  /** Diamonds that this is about. */
  amount_diamonds: number;
  /** Why. The set may grow: act on a word that you do not know as on none. */
  reason: Open<"kept">;
  /** The gift that it is about. */
  gift_id?: string;
}

/** A gift was paid and counts: by the earning that is held for it, or by the payment. */
export interface GiftSent extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The gift that it is about. */
  gift_id: string;
  /** The viewer who gives. */
  sender_id: string;
  /** What was bought: a fixed record of the shop. */
  product_id: string;
  /** Where an app shows the product. */
  categories: Array<string>;
  /** How many pieces were paid. */
  count: number;
  /** Diamonds that this is about. */
  amount_diamonds: number;
  /** The goal that it was given for. */
  goal_id?: string;
  /** The funding that the show follows, or that the ticket is of. */
  funding_goal_id?: string;
  /** Seconds that the song lasts which the gift asks for; absent if it asks for none. */
  duration?: number;
}

/** A gift came to nothing, and its sender keeps the money, or has it back. */
export interface GiftFailed extends Head {
  /** The broadcast that it belongs to. */
  session_id: string;
  /** The streamer whose session, goal or money it is. */
  streamer_id: string;
  /** The gift that it is about. */
  gift_id: string;
  /** The viewer who gives. */
  sender_id: string;
  /** What was bought: a fixed record of the shop. */
  product_id: string;
  /** Where an app shows the product. */
  categories: Array<string>;
  /** How many pieces were paid. */
  count: number;
  /** Diamonds that this is about. */
  amount_diamonds: number;
  /** The goal that it was given for. */
  goal_id?: string;
  /** The funding that the show follows, or that the ticket is of. */
  funding_goal_id?: string;
  /** Seconds that the song lasts which the gift asks for; absent if it asks for none. */
  duration?: number;
  /** Why. The set may grow: act on a word that you do not know as on none. */
  reason?: Open<"insufficient_diamonds" | "expired" | "goal_unknown" | "goal_over" | "other_session" | "session_ended" | "viewer_blocked">;
}

/** The gateway confirmed the money. Told once an order: what it bought may be granted. */
export interface OrderPaid extends Head {
  /** The order. */
  order_id: string;
  /** The user that it is about. */
  user_id: string;
  /** Money, in the smallest unit of `currency`. */
  amount: number;
  /** ISO 4217, in capitals. */
  currency: string;
  /** The payment service that the order is paid at. */
  gateway: "sonet" | "sandbox";
  /** What was ordered. */
  items: Array<{
    /** One line of the order; with the order's id it is what its diamonds are credited by. */
    item_id: string;
    /** What was bought: a fixed record of the shop. */
    product_id: string;
    /** What kind of product it is. */
    subtype?: Open<"DiamondPackProduct" | "UserProduct" | "PassProduct" | "GiftProduct">;
    /** How many pieces of the product. */
    quantity: number;
    /** How many diamonds are in one piece; absent if it is no diamond pack. */
    diamonds?: number;
    /** `livestream_pass` for every stream, with an underscore and a streamer's id for that one. */
    pass_kind?: string;
  }>;
}

/** An operator says that the buyer has the money back, given or fetched: what it bought is taken back. */
export interface OrderRefunded extends Head {
  /** The order. */
  order_id: string;
  /** The user that it is about. */
  user_id: string;
  /** Money, in the smallest unit of `currency`. */
  amount: number;
  /** ISO 4217, in capitals. */
  currency: string;
  /** The payment service that the order is paid at. */
  gateway: "sonet" | "sandbox";
  /** What had been paid for as it was ordered; nothing of an order that never was. */
  items: Array<{
    /** One line of the order; with the order's id it is what its diamonds are credited by. */
    item_id: string;
    /** What was bought: a fixed record of the shop. */
    product_id: string;
    /** What kind of product it is. */
    subtype?: Open<"DiamondPackProduct" | "UserProduct" | "PassProduct" | "GiftProduct">;
    /** How many pieces of the product. */
    quantity: number;
    /** How many diamonds are in one piece; absent if it is no diamond pack. */
    diamonds?: number;
    /** `livestream_pass` for every stream, with an underscore and a streamer's id for that one. */
    pass_kind?: string;
    /** How many pieces are in use and stay; absent of diamonds, of which escrow says what it took. */
    activated?: number;
  }>;
  /** `refunded`: given back by us · `charged_back`: fetched through the payer's bank. */
  payment: Open<"refunded" | "charged_back">;
  /** Why. The set may grow: act on a word that you do not know as on none. */
  reason: Open<"asked_for" | "not_delivered" | "paid_twice" | "mistake" | "disputed" | "other">;
}

/** The user may watch from `nbf` to `exp`: every streamer, or the one named. The last one told counts. */
export interface PassActivated extends Head {
  /** The user that it is about. */
  user_id: string;
  /** `livestream_pass` for every stream, with an underscore and a streamer's id for that one. */
  pass_kind: string;
  /** The streamer whose streams it opens; absent: everybody's. */
  streamer_id?: string;
  /** When it begins. */
  nbf: number;
  /** When it is over. */
  exp: number;
}

/** Every push, told apart by its name. */
export type Push =
  | { name: "goal.added"; data: GoalAdded | Elsewhere }
  | { name: "goal.progress.updated"; data: GoalProgressUpdated | Elsewhere }
  | { name: "goal.extended"; data: GoalExtended | Elsewhere }
  | { name: "goal.ended"; data: GoalEnded | Elsewhere }
  | { name: "exclusive.closed"; data: ExclusiveClosed | Elsewhere }
  | { name: "goal.rejected"; data: GoalRejected | Elsewhere }
  | { name: "session.updated"; data: SessionUpdated | Elsewhere }
  | { name: "session.ended"; data: SessionEnded | Elsewhere }
  | { name: "stream.authorized"; data: StreamAuthorized | Elsewhere }
  | { name: "stream.revoked"; data: StreamRevoked | Elsewhere }
  | { name: "payment.failed"; data: PaymentFailed | Elsewhere }
  | { name: "payment.reversed"; data: PaymentReversed | Elsewhere }
  | { name: "escrow.failed"; data: EscrowFailed | Elsewhere }
  | { name: "escrow.completed"; data: EscrowCompleted | Elsewhere }
  | { name: "gift.sent"; data: GiftSent | Elsewhere }
  | { name: "gift.failed"; data: GiftFailed | Elsewhere }
  | { name: "order.paid"; data: OrderPaid | Elsewhere }
  | { name: "order.refunded"; data: OrderRefunded | Elsewhere }
  | { name: "pass.activated"; data: PassActivated | Elsewhere };
