"""The collections of escrow.

`load` is what handlers load of escrows and debits, `accounts` the ledger, `earned` what a streamer sees of it,
`counts` what transfers come to, `needs` what a whole batch loads at once, `migrations` what numbered migrations do.
"""

from chassis.storage.collection import Collection, Index
from escrow.domain.blocks import Block
from escrow.domain.escrows import Earning, Escrow
from escrow.domain.external_wallet import ExternalAccount
from escrow.domain.ledger import Balance, Movement, Transfer
from escrow.domain.payments import Payment
from escrow.domain.purchases import Debit

TRANSFERS = Collection(
    "transfers",
    Transfer,
    indexes=(
        Index({"wallets": 1, "at": 1, "_id": 1}),
        *(Index({side: 1, "at": 1, "_id": 1, "kind": 1, "amount_diamonds": 1}) for side in ("debit", "credit")),
    ),
)
BALANCES = Collection("balances", Balance)
MOVEMENTS = Collection("movements", Movement, indexes=(Index({"account": 1}),))
ESCROWS = Collection("escrows", Escrow, indexes=(Index({"open_earnings": 1}),))
EARNINGS = Collection(
    "earnings",
    Earning,
    indexes=(
        Index({"escrow_id": 1, "status": 1, "accepted": 1, "buyer_id": 1, "amount_diamonds": 1}),
        Index({"buyer_id": 1, "streamer_id": 1, "at": 1}, where={"status": "held"}),
        Index({"at": 1}, where={"status": "held"}),
        Index({"forget_at": 1}, where={"status": "rejected"}, expire_after_seconds=0),
    ),
)
BLOCKS = Collection("blocks", Block)
PAYMENTS = Collection(
    "payments", Payment, indexes=(Index({"forget_at": 1}, where={"status": "failed"}, expire_after_seconds=0),)
)
DEBITS = Collection("debits", Debit, indexes=(Index({"user_id": 1, "at": 1, "_id": 1}),))
EXTERNAL_ACCOUNTS = Collection("external_accounts", ExternalAccount)
ALL = (TRANSFERS, BALANCES, MOVEMENTS, ESCROWS, EARNINGS, BLOCKS, PAYMENTS, DEBITS, EXTERNAL_ACCOUNTS)
